//! Adding an authenticator and removing it.

use axum::extract::State;
use axum::response::Response;
use http::Method;
use minijinja::context;
use problem::Problem;
use serde_json::{Value, json};

use super::PAGE_OF_PERSON;
use super::passkeys::{confirmed, has_factor};
use super::render::Page;
use super::visit::{Fields, Resident, ResidentForm};
use crate::identity::factors::{
    Enrolment, FirstCode, Operation, PasswordProof, WRONG_CODE, confirm_enrolment, drop_totp, enrol,
};
use crate::state::AppState;

const API: &str = "/api/v1/me/factors/totp";
/// What an authenticator is opened with; nothing else is linked to.
const SCHEME: &str = "otpauth://totp/";

/// Letters of a secret between two spaces.
const GROUP: usize = 4;

/// Asks for the password, and for a code of whoever has passkeys.
pub(super) async fn show(State(state): State<AppState>, resident: Resident) -> Response {
    match has_factor(&state, &resident).await {
        Ok(asks_code) => resident.visit.page(&state, &page(asks_code)),
        Err(problem) => resident.trouble(&state, &problem),
    }
}

fn page(asks_code: bool) -> Page {
    Page::new("authenticator.html", "authenticator-title").with(context! { asks_code })
}

/// Shows the secret, as `/api/v1/me/factors/totp` does.
pub(super) async fn begin(State(state): State<AppState>, form: ResidentForm) -> Response {
    let ResidentForm { resident, fields } = form;
    match begun(&state, &resident, &fields).await {
        Ok(enrolment) => resident.visit.page(&state, &secret_page(&enrolment)),
        Err(problem) => {
            let asks_code = has_factor(&state, &resident).await.unwrap_or_default();
            resident.refused(&state, page(asks_code), &problem)
        }
    }
}

async fn begun(state: &AppState, resident: &Resident, fields: &Fields) -> Result<Enrolment, Problem> {
    let caller = resident.caller();
    let act = confirmed(state, resident, (&Method::POST, API, json!({})), fields).await?;
    let body = PasswordProof {
        password: fields.secret("password"),
    };
    enrol(state, &caller, &resident.visit.parts, Operation { body, act }).await
}

fn secret_page(enrolment: &Enrolment) -> Page {
    secret_page_of(&enrolment.secret, &enrolment.otpauth_uri)
}

fn secret_page_of(secret: &str, uri: &str) -> Page {
    Page::new("secret.html", "authenticator-title").with(context! { secret, groups => grouped(secret), uri })
}

/// The same, easier to type.
fn grouped(secret: &str) -> String {
    let mut groups = String::new();
    for (place, letter) in secret.chars().enumerate() {
        if place > 0 && place % GROUP == 0 {
            groups.push(' ');
        }
        groups.push(letter);
    }
    groups
}

/// Takes the first code, and shows recovery codes: this once.
pub(super) async fn confirm(State(state): State<AppState>, form: ResidentForm) -> Response {
    let ResidentForm { resident, fields } = form;
    let first = FirstCode {
        code: fields.secret("code"),
    };
    match confirm_enrolment(&state, &resident.caller(), &resident.visit.parts, first).await {
        Ok(codes) => added(&state, resident, &codes.recovery_codes).await,
        Err(problem) if problem.kind().slug() == WRONG_CODE.slug() => {
            // The secret is nowhere in the clear but on the page that was shown: it comes back with the form.
            let uri = fields.text("uri");
            let uri = Some(uri.as_str()).filter(|uri| uri.starts_with(SCHEME));
            let page = secret_page_of(&fields.text("secret"), uri.unwrap_or_default());
            resident.refused(&state, page, &problem)
        }
        Err(problem) => resident.trouble(&state, &problem),
    }
}

/// A factor counts from now on: another cookie, and the codes for whoever loses it.
pub(super) async fn added(state: &AppState, resident: Resident, codes: &[String]) -> Response {
    let resident = match resident.renew(state).await {
        Ok(resident) => resident,
        Err(response) => return response,
    };
    let page = Page::new("recovery_codes.html", "recovery-codes-title");
    resident.visit.page(state, &page.with(context! { codes }))
}

/// Removes the authenticator, confirmed with a code.
pub(super) async fn remove(State(state): State<AppState>, form: ResidentForm) -> Response {
    let ResidentForm { resident, fields } = form;
    match removed(&state, &resident, &fields).await {
        Ok(()) => match resident.renew(&state).await {
            Ok(resident) => resident.visit.go(PAGE_OF_PERSON, Some("factor-removed")),
            Err(response) => response,
        },
        Err(problem) => resident.trouble(&state, &problem),
    }
}

async fn removed(state: &AppState, resident: &Resident, fields: &Fields) -> Result<(), Problem> {
    let caller = resident.caller();
    let act = confirmed(state, resident, (&Method::DELETE, API, Value::Null), fields).await?;
    drop_totp(state, &caller, &resident.visit.parts, &act)
        .await
        .map(drop)
}
