//! Adding a passkey and removing one, and the confirmation that changes of factors ask for.

use axum::extract::State;
use axum::response::Response;
use http::Method;
use minijinja::context;
use problem::{Problem, catalogue};
use serde_json::{Value, json};

use super::PAGE_OF_PERSON;
use super::authenticator::added;
use super::render::Page;
use super::visit::{Fields, Resident, ResidentForm};
use crate::identity::caller::{Caller, FactorsWrite};
use crate::identity::factors::{
    self, Act, Ceremony, NewCredential, NewPasskeyAnswer, Operation, PasskeyOrder, StepUpRequest,
    begin_passkey, confirm_passkey, drop_passkey, give_step_up,
};
use crate::ids::PasskeyId;
use crate::state::AppState;

const API: &str = "/api/v1/me/factors/passkeys";
/// Digits of an authenticator's code; anything else is a recovery code.
const CODE_DIGITS: usize = 6;

/// Whether the person has a second factor, which confirms changes of factors.
pub(super) async fn has_factor(state: &AppState, resident: &Resident) -> Result<bool, Problem> {
    factors::has_one(&state.db, resident.browser.user.uuid()).await
}

/// An operation of the API that a page does, with the confirmation that the form's code buys; without one where none was typed.
pub(super) async fn confirmed(
    state: &AppState,
    resident: &Resident,
    (method, path, body): (&Method, &str, Value),
    fields: &Fields,
) -> Result<Act, Problem> {
    let typed = fields.secret("code");
    if typed.trim().is_empty() {
        return Ok(Act::of(method, path, body, None));
    }
    let digits: String = typed.split_whitespace().collect();
    let is_code = digits.len() == CODE_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    let request = StepUpRequest {
        method: method.to_string(),
        path: path.to_owned(),
        body: Some(body.clone()),
        code: is_code.then(|| digits.into()),
        recovery_code: (!is_code).then_some(typed),
        passkey: None,
    };
    let caller: Caller<FactorsWrite> = resident.caller();
    let given = give_step_up(state, &caller, &resident.visit.parts, request).await?;
    Ok(Act::of(method, path, body, Some(&given.token)))
}

/// Asks for the password, or for a code of whoever has a second factor.
pub(super) async fn show(State(state): State<AppState>, resident: Resident) -> Response {
    match has_factor(&state, &resident).await {
        Ok(asks_code) => resident.visit.page(&state, &page(asks_code)),
        Err(problem) => resident.trouble(&state, &problem),
    }
}

fn page(asks_code: bool) -> Page {
    Page::new("add_passkey.html", "add-passkey-title").with(context! { asks_code })
}

/// Asks the authenticator, as `/api/v1/me/factors/passkeys` does.
pub(super) async fn begin(State(state): State<AppState>, form: ResidentForm) -> Response {
    let ResidentForm { resident, fields } = form;
    match begun(&state, &resident, &fields).await {
        Ok(ceremony) => resident.visit.page(&state, &ask_page(&ceremony)),
        Err(problem) => {
            let asks_code = has_factor(&state, &resident).await.unwrap_or_default();
            resident.refused(&state, page(asks_code), &problem)
        }
    }
}

async fn begun(state: &AppState, resident: &Resident, fields: &Fields) -> Result<Ceremony, Problem> {
    let caller = resident.caller();
    let act = confirmed(state, resident, (&Method::POST, API, json!({})), fields).await?;
    let password = fields.secret("password");
    let body = PasskeyOrder {
        password: (!password.is_empty()).then_some(password),
    };
    begin_passkey(state, &caller, &resident.visit.parts, Operation { body, act }).await
}

fn ask_page(ceremony: &Ceremony) -> Page {
    Page::new("add_passkey.html", "add-passkey-title").with(context! {
        asks_code => false,
        ceremony => ceremony.ceremony,
        options => ceremony.public_key.to_string(),
    })
}

/// Takes the answer, as `/api/v1/me/factors/passkeys/confirm` does.
pub(super) async fn finish(State(state): State<AppState>, form: ResidentForm) -> Response {
    let ResidentForm { resident, fields } = form;
    match finished(&state, &resident, &fields).await {
        Ok(codes) => added(&state, resident, &codes).await,
        Err(problem) => resident.trouble(&state, &problem),
    }
}

async fn finished(state: &AppState, resident: &Resident, fields: &Fields) -> Result<Vec<String>, Problem> {
    let caller = resident.caller();
    let credential: NewCredential = serde_json::from_str(&fields.secret("credential"))
        .map_err(|_| Problem::new(catalogue::MALFORMED_REQUEST))?;
    let new = NewPasskeyAnswer {
        ceremony: fields.secret("ceremony"),
        name: fields.text("name"),
        credential,
    };
    let added = confirm_passkey(state, &caller, &resident.visit.parts, new).await?;
    Ok(added.recovery_codes)
}

/// Removes a passkey, confirmed with a code.
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
    let id: PasskeyId = fields
        .text("id")
        .parse()
        .map_err(|_| Problem::new(catalogue::NOT_FOUND))?;
    let caller = resident.caller();
    let path = format!("{API}/{id}");
    let act = confirmed(state, resident, (&Method::DELETE, &path, Value::Null), fields).await?;
    drop_passkey(state, &caller, (id, &resident.visit.parts), &act)
        .await
        .map(drop)
}
