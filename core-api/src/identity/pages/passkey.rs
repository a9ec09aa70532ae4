//! Signing in with a passkey: a page that asks the authenticator, and its answer, which comes as a form. The script on that page
//! fetches nothing.

use axum::extract::State;
use axum::response::Response;
use minijinja::context;
use problem::{Problem, catalogue};

use super::log_in;
use super::render::Page;
use super::visit::GuestForm;
use crate::identity::factors::{
    Ceremony, Credential, PasskeyAnswer, begin_passkey_log_in, finish_passkey_log_in,
};
use crate::identity::open_session::Channel;
use crate::state::AppState;

/// Asks, as `/api/v1/auth/passkey` does: the same for everybody.
pub(super) async fn begin(State(state): State<AppState>, form: GuestForm) -> Response {
    let visit = form.visit;
    match begin_passkey_log_in(&state, &visit.parts).await {
        Ok(ceremony) => visit.page(&state, &page(&ceremony)),
        Err(problem) => log_in::refused(&state, &visit, "", &problem),
    }
}

fn page(ceremony: &Ceremony) -> Page {
    Page::new("passkey.html", "passkey-title").with(context! {
        ceremony => ceremony.ceremony,
        options => ceremony.public_key.to_string(),
    })
}

/// Takes the answer, as `/api/v1/auth/passkey/finish` does.
pub(super) async fn finish(State(state): State<AppState>, form: GuestForm) -> Response {
    let GuestForm { visit, fields } = form;
    let Ok(credential) = serde_json::from_str::<Credential>(&fields.secret("credential")) else {
        return log_in::refused(&state, &visit, "", &Problem::new(catalogue::MALFORMED_REQUEST));
    };
    let shown = PasskeyAnswer {
        ceremony: fields.secret("ceremony"),
        credential,
    };
    match finish_passkey_log_in(&state, &visit.parts, shown, Channel::Browser).await {
        Ok(response) => response,
        Err(problem) => log_in::refused(&state, &visit, "", &problem),
    }
}
