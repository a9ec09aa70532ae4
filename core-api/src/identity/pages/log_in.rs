//! The page that one logs in on.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use minijinja::context;
use problem::Problem;

use super::render::Page;
use super::second_factor;
use super::visit::{Guest, GuestForm, Visit};
use super::{PAGE_OF_PERSON, SECOND_FACTOR};
use crate::identity::browser;
use crate::identity::factors::MFA_REQUIRED;
use crate::identity::login::{Credentials, sign_in};
use crate::identity::open_session::Channel;
use crate::state::AppState;

/// The form, or the way on for whoever has signed in.
pub(super) async fn show(State(state): State<AppState>, Guest(visit): Guest) -> Response {
    match browser::enter(&state, &visit.parts.headers).await {
        Ok(Some(_)) => visit.go(PAGE_OF_PERSON, None),
        Ok(None) => visit.page(&state, &page(&state, "")),
        Err(problem) => visit.trouble(&state, &problem),
    }
}

/// Checks name and password, as `/api/v1/auth/login` does.
pub(super) async fn submit(State(state): State<AppState>, form: GuestForm) -> Response {
    let GuestForm { mut visit, fields } = form;
    let email = fields.text("email");
    let credentials = Credentials {
        email: email.clone(),
        password: fields.secret("password"),
    };
    match sign_in(&state, &visit.parts, credentials, Channel::Browser).await {
        Ok(response) => response,
        Err(problem) if problem.kind().slug() == MFA_REQUIRED.slug() => {
            let document = problem.to_document(None);
            let challenge = document.members.get("challenge").and_then(|text| text.as_str());
            visit.set(challenge.and_then(second_factor::remember));
            visit.go(SECOND_FACTOR, None)
        }
        Err(problem) => refused(&state, &visit, &email, &problem),
    }
}

/// The form once more, and why.
pub(super) fn refused(state: &AppState, visit: &Visit, email: &str, problem: &Problem) -> Response {
    visit.refused(state, page(state, email), problem).into_response()
}

fn page(state: &AppState, email: &str) -> Page {
    let has_passkeys = state.identity.factors.has_passkeys();
    Page::new("log_in.html", "log-in-title").with(context! { email, has_passkeys })
}
