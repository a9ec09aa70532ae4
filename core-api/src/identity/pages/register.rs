//! The page that one registers on.

use axum::extract::State;
use axum::response::Response;
use minijinja::context;

use super::LOG_IN;
use super::render::Page;
use super::visit::{Guest, GuestForm};
use crate::extract::Json;
use crate::identity::register::{self, Registration};
use crate::state::AppState;

/// The form.
pub(super) async fn show(State(state): State<AppState>, Guest(visit): Guest) -> Response {
    visit.page(&state, &page("", ""))
}

/// Registers, as `/api/v1/auth/register` does: what is said does not depend on whether the address is known.
pub(super) async fn submit(State(state): State<AppState>, form: GuestForm) -> Response {
    let GuestForm { visit, fields } = form;
    let (email, full_name) = (fields.text("email"), fields.text("full_name"));
    let page = page(&email, &full_name);
    let registration = Registration {
        email,
        full_name,
        password: fields.secret("password"),
    };
    let registered = register::register(State(state.clone()), visit.parts.clone(), Json(registration));
    match registered.await {
        Ok(_) => visit.go(LOG_IN, Some("registered")),
        Err(problem) => visit.refused(&state, page, &problem),
    }
}

fn page(email: &str, full_name: &str) -> Page {
    Page::new("register.html", "register-title").with(context! { email, full_name })
}
