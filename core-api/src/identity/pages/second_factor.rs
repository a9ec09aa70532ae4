//! The second step of a log-in: a code of the authenticator, a recovery code, or the way to a passkey.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, header};
use minijinja::context;
use zeroize::Zeroizing;

use super::render::Page;
use super::visit::{Guest, GuestForm};
use super::{LOG_IN, log_in};
use crate::identity::cookies::{cookie, set_cookie};
use crate::identity::factors::{INVALID_CHALLENGE, SecondStep, finish_log_in};
use crate::identity::open_session::Channel;
use crate::state::AppState;

/// The cookie of a log-in that awaits its second factor.
const COOKIE: &str = "__Host-challenge";
/// As long as the challenge is good.
const CHALLENGE_S: u32 = 300;

/// The field that has a browser remember the first step.
pub(super) fn remember(challenge: &str) -> Option<HeaderValue> {
    set_cookie(COOKIE, challenge, Some(CHALLENGE_S))
}

fn challenge_of(headers: &HeaderMap) -> Option<Zeroizing<String>> {
    cookie(headers, COOKIE)
        .filter(|text| !text.is_empty())
        .map(Zeroizing::new)
}

/// The form; without a first step, that comes first.
pub(super) async fn show(State(state): State<AppState>, Guest(visit): Guest) -> Response {
    match challenge_of(&visit.parts.headers) {
        Some(_) => visit.page(&state, &page(&state, false)),
        None => visit.go(LOG_IN, None),
    }
}

/// Checks a code, as `/api/v1/auth/login/factor` does.
pub(super) async fn submit(State(state): State<AppState>, form: GuestForm) -> Response {
    let GuestForm { mut visit, fields } = form;
    let Some(challenge) = challenge_of(&visit.parts.headers) else {
        return visit.go(LOG_IN, None);
    };
    let recovery_code = fields.secret("recovery_code");
    let by_recovery = !recovery_code.trim().is_empty();
    let code = fields.secret("code").split_whitespace().collect::<String>();
    let step = SecondStep {
        challenge,
        code: (!by_recovery).then(|| Zeroizing::new(code)),
        recovery_code: by_recovery.then_some(recovery_code),
    };
    let forget = set_cookie(COOKIE, "", Some(0));
    match finish_log_in(&state, &visit.parts, step, Channel::Browser).await {
        Ok(mut response) => {
            if let Some(forget) = forget {
                response.headers_mut().append(header::SET_COOKIE, forget);
            }
            response
        }
        Err(problem) if problem.kind().slug() == INVALID_CHALLENGE.slug() => {
            visit.set(forget);
            log_in::refused(&state, &visit, "", &problem)
        }
        Err(problem) => visit.refused(&state, page(&state, by_recovery), &problem),
    }
}

fn page(state: &AppState, by_recovery: bool) -> Page {
    let has_passkeys = state.identity.factors.has_passkeys();
    Page::new("second_factor.html", "second-factor-title").with(context! { by_recovery, has_passkeys })
}
