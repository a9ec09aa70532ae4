//! Another password, for whoever has signed in.

use axum::extract::State;
use axum::response::Response;

use super::PAGE_OF_PERSON;
use super::render::Page;
use super::visit::{Resident, ResidentForm};
use crate::extract::Json;
use crate::identity::change_password::{PasswordChange, change_password};
use crate::state::AppState;

/// The form.
pub(super) async fn show(State(state): State<AppState>, resident: Resident) -> Response {
    resident.visit.page(&state, &page())
}

/// As `/api/v1/me/password`: every other session ends, and this browser gets another cookie.
pub(super) async fn submit(State(state): State<AppState>, form: ResidentForm) -> Response {
    let ResidentForm { resident, fields } = form;
    let change = PasswordChange {
        current_password: fields.secret("current_password"),
        new_password: fields.secret("new_password"),
    };
    let parts = resident.visit.parts.clone();
    match change_password(State(state.clone()), resident.caller(), parts, Json(change)).await {
        Ok(_) => match resident.renew(&state).await {
            Ok(resident) => resident.visit.go(PAGE_OF_PERSON, Some("password-changed")),
            Err(response) => response,
        },
        Err(problem) => resident.refused(&state, page(), &problem),
    }
}

fn page() -> Page {
    Page::new("password.html", "password-title")
}
