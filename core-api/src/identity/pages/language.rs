//! Which language a reader gets: the one that was chosen here, or what the person prefers, or what the browser asks for.

use axum::extract::{FromRequest as _, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;

use super::visit::{Fields, GuestForm, ResidentForm, Visit};
use super::{
    ADD_PASSKEY, AUTHENTICATOR, FORGOT_PASSWORD, KEEP_EMAIL, LOG_IN, PAGE_OF_PERSON, PASSWORD, REGISTER,
    RESEND_VERIFICATION, RESET_PASSWORD, SECOND_FACTOR, SEND_UNLOCK, UNLOCK, VERIFY_EMAIL,
};
use crate::identity::browser;
use crate::identity::cookies::{cookie, set_cookie};
use crate::languages::Language;
use crate::state::AppState;

/// The cookie of the choice.
const COOKIE: &str = "__Host-language";
const YEAR_S: u32 = 365 * 86_400;

/// Where the reader was, and is again. Nothing else is a target.
const PAGES: [&str; 14] = [
    LOG_IN,
    SECOND_FACTOR,
    REGISTER,
    FORGOT_PASSWORD,
    RESEND_VERIFICATION,
    SEND_UNLOCK,
    VERIFY_EMAIL,
    RESET_PASSWORD,
    UNLOCK,
    KEEP_EMAIL,
    PAGE_OF_PERSON,
    PASSWORD,
    AUTHENTICATOR,
    ADD_PASSKEY,
];

/// The language of a page for whoever sent these headers and prefers this.
pub(super) fn of(headers: &HeaderMap, preferred: Option<Language>) -> Language {
    cookie(headers, COOKIE)
        .and_then(|code| Language::parse(&code))
        .or(preferred)
        .or_else(|| Language::asked_for(headers))
        .unwrap_or_default()
}

/// Remembers a choice, for whoever has signed in and whoever has not.
pub(super) async fn choose(State(state): State<AppState>, request: Request) -> Response {
    let form = if browser::token_of(request.headers()).is_some() {
        let form = ResidentForm::from_request(request, &state).await;
        form.map(|form| (form.resident.visit, form.fields))
    } else {
        let form = GuestForm::from_request(request, &state).await;
        form.map(|form| (form.visit, form.fields))
    };
    match form {
        Ok((visit, fields)) => chosen(visit, &fields),
        Err(refusal) => refusal.into_response(),
    }
}

fn chosen(mut visit: Visit, fields: &Fields) -> Response {
    let path = fields.text("path");
    let known = PAGES.into_iter().find(|page| *page == path);
    if let Some(language) = Language::parse(&fields.text("language")) {
        visit.set(set_cookie(COOKIE, language.as_str(), Some(YEAR_S)));
    }
    visit.go(known.unwrap_or(LOG_IN), None)
}
