//! A new password, for whoever has the ticket of a mail.

use axum::extract::State;
use axum::response::Response;
use minijinja::context;

use super::LOG_IN;
use super::render::Page;
use super::visit::{Guest, GuestForm};
use crate::extract::Json;
use crate::identity::password_reset::{PasswordReset, reset_password};
use crate::state::AppState;

/// The form.
pub(super) async fn show(State(state): State<AppState>, Guest(visit): Guest) -> Response {
    visit.page(&state, &page(""))
}

/// As `/api/v1/auth/password/reset`: a password that is refused leaves the ticket good.
pub(super) async fn submit(State(state): State<AppState>, form: GuestForm) -> Response {
    let GuestForm { visit, fields } = form;
    let page = page(&fields.text("token"));
    let reset = PasswordReset {
        token: fields.secret("token"),
        password: fields.secret("password"),
    };
    match reset_password(State(state.clone()), visit.parts.clone(), Json(reset)).await {
        Ok(_) => visit.go(LOG_IN, Some("password-set")),
        Err(problem) => visit.refused(&state, page, &problem),
    }
}

fn page(token: &str) -> Page {
    Page::new("reset.html", "reset-title").with(context! { token })
}
