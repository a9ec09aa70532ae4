//! The hosted log-in: pages for people with a browser, written here and sent as HTML. They call the use cases of this slice, as
//! the JSON API does: the same gate, the same lock-outs, the same answer for a name that is known and one that is not.
//!
//! **Invariants:** a page works without JavaScript, but for passkeys, and has no script or style in it. A form changes something
//! only when it comes from one of our pages, and carries the token that this page was given for this browser. What was typed into
//! a password field is sent back to nobody.

mod assets;
mod authenticator;
mod faults;
mod forgery;
mod language;
mod log_in;
mod mailed;
mod passkey;
mod passkeys;
mod password;
mod register;
mod render;
mod reset;
mod second_factor;
mod security;
#[cfg(test)]
mod tests;
mod visit;

use axum::Router;
use axum::routing::{get, post};

pub(super) use self::render::Pages;
use crate::state::AppState;

/// Where a person sees what is his.
pub(super) const PAGE_OF_PERSON: &str = "/account";
const LOG_IN: &str = "/account/log-in";
const SECOND_FACTOR: &str = "/account/second-factor";
const PASSKEY: &str = "/account/passkey";
const REGISTER: &str = "/account/register";
const FORGOT_PASSWORD: &str = "/account/forgot-password";
const RESEND_VERIFICATION: &str = "/account/resend-verification";
const SEND_UNLOCK: &str = "/account/send-unlock";
const PASSWORD: &str = "/account/password";
const AUTHENTICATOR: &str = "/account/authenticator";
const ADD_PASSKEY: &str = "/account/passkeys/add";

// What links in mails lead to, where `mail.app_url` ends with `/account`.
const VERIFY_EMAIL: &str = "/account/verify-email";
const RESET_PASSWORD: &str = "/account/reset-password";
const UNLOCK: &str = "/account/unlock";
const KEEP_EMAIL: &str = "/account/keep-email";

/// The pages. They are no part of the API, nor of its document.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route(LOG_IN, get(log_in::show).post(log_in::submit))
        .route(
            SECOND_FACTOR,
            get(second_factor::show).post(second_factor::submit),
        )
        .route(PASSKEY, post(passkey::begin))
        .route("/account/passkey/finish", post(passkey::finish))
        .route(REGISTER, get(register::show).post(register::submit))
        .route(FORGOT_PASSWORD, get(mailed::forgot).post(mailed::send_reset))
        .route(
            RESEND_VERIFICATION,
            get(mailed::resend).post(mailed::send_verification),
        )
        .route(SEND_UNLOCK, get(mailed::locked).post(mailed::send_unlock))
        .route(VERIFY_EMAIL, get(mailed::verify).post(mailed::use_verification))
        .route(UNLOCK, get(mailed::unlock).post(mailed::use_unlock))
        .route(KEEP_EMAIL, get(mailed::keep).post(mailed::use_keep))
        .route(RESET_PASSWORD, get(reset::show).post(reset::submit))
        .route(PAGE_OF_PERSON, get(security::show))
        .route("/account/log-out", post(security::log_out))
        .route("/account/sessions/name", post(security::name_session))
        .route("/account/sessions/end", post(security::end_session))
        .route("/account/sessions/end-others", post(security::end_others))
        .route("/account/devices/remove", post(security::remove_device))
        .route(PASSWORD, get(password::show).post(password::submit))
        .route(AUTHENTICATOR, get(authenticator::show).post(authenticator::begin))
        .route("/account/authenticator/confirm", post(authenticator::confirm))
        .route("/account/authenticator/remove", post(authenticator::remove))
        .route(ADD_PASSKEY, get(passkeys::show).post(passkeys::begin))
        .route("/account/passkeys/finish", post(passkeys::finish))
        .route("/account/passkeys/remove", post(passkeys::remove))
        .route("/account/language", post(language::choose))
        .route("/account/assets/{name}", get(assets::show))
}
