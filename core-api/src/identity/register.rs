//! Sign-up.

use axum::extract::State;
use axum::http::request::Parts;
use http::StatusCode;
use problem::FieldError;
use problem::Problem;
use serde::Deserialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::caller;
use super::client_network::ClientNetwork;
use super::error::{RegistrationErrors, hashing_busy};
use super::hash_queue::Priority;
use super::passwords::{NewPassword, Person, fault};
use super::profile::{Email, full_name};
use super::store::{self, NewUser};
use super::tickets::{self, Accepted, TicketMail};
use crate::database_problem;
use crate::extract::{Json, invalid};
use crate::ids::UserId;
use crate::mail::{Kind, Language};
use crate::state::AppState;

/// Somebody who wants to become a customer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"email": "alice@example.com", "full_name": "Alice Example", "password": "correct horse battery"}))]
pub(super) struct Registration {
    /// An e-mail address; its case does not matter.
    #[schema(format = Email, max_length = 254)]
    pub(super) email: String,
    /// The person's name, 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    pub(super) full_name: String,
    /// 15 to 128 characters, at least 6 of them different, hard to guess, without the names of the bank, the person and the
    /// e-mail address, and not among breached ones. Every rule it breaks is told at once.
    #[schema(format = Password, max_length = 1024, value_type = String)]
    #[serde(deserialize_with = "super::secret_text::deserialize")]
    pub(super) password: Zeroizing<String>,
}

/// Register
///
/// The answer is the same whether the address is new or known, so that nobody can find out who has an account here: a mail
/// says the rest. A new account can be used once its address is verified with the token of that mail. All faults of the
/// request are told at once.
#[utoipa::path(
    post, path = "/api/v1/auth/register", tag = "identity", operation_id = "register",
    request_body = Registration,
    responses((status = ACCEPTED, description = "Accepted", body = Accepted, example = json!({"status": "accepted"})), RegistrationErrors)
)]
pub(super) async fn register(
    State(state): State<AppState>,
    parts: Parts,
    Json(registration): Json<Registration>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let passwords = &state.identity.passwords;
    let turn = passwords
        .take(Priority::Registration, ClientNetwork::of(&parts.headers))
        .map_err(hashing_busy)?;
    let person = Person {
        email: registration.email.clone(),
        full_name: registration.full_name.clone(),
    };
    let applicant = Applicant::parse(&registration);
    // Hashed whether or not the address is known: the answer takes the same time.
    let judged = passwords
        .judge(turn, registration.password, person, applicant.is_ok())
        .await
        .map_err(hashing_busy)?;
    let (applicant, hash) = match (applicant, judged) {
        (Ok(applicant), NewPassword::Hashed(hash)) => (applicant, hash),
        (applicant, judged) => return Err(invalid(faults(applicant.err(), &judged))),
    };
    let now = state.now();
    let mail = TicketMail::new(&parts, Kind::Registration, applicant.email.as_str())
        .ok_or_else(tickets::no_ticket)?;
    let mut tx = state.db.begin().await.map_err(database_problem)?;
    let user = NewUser {
        user_id: UserId::new(now).uuid(),
        email: applicant.email.as_str(),
        full_name: &applicant.full_name,
        password_hash: &hash,
        active: state.identity.auto_activate,
        created_at: now,
        language: Language::asked_for(&parts.headers).map(Language::as_str),
        is_queued: state.post.enqueue(&mut tx, mail.as_mail(), now).await?,
    };
    store::register(&mut *tx, user, mail.as_ticket(), &caller::request_id(&parts))
        .await
        .map_err(database_problem)?;
    tx.commit().await.map_err(database_problem)?;
    state.post.wake();
    Ok(tickets::accepted())
}

/// Everything that is wrong with a registration.
fn faults(of_person: Option<Vec<FieldError>>, judged: &NewPassword) -> Vec<FieldError> {
    let violations = match judged {
        NewPassword::Judged(violations) => violations.as_slice(),
        NewPassword::Hashed(_) => &[],
    };
    let of_password = violations.iter().map(|violation| fault("/password", violation));
    of_person.into_iter().flatten().chain(of_password).collect()
}

struct Applicant {
    email: Email,
    full_name: String,
}

impl Applicant {
    fn parse(registration: &Registration) -> Result<Self, Vec<FieldError>> {
        let fault = |pointer: &str, detail: &str| FieldError::new(pointer, "invalid_value", detail);
        let mut faults = Vec::new();
        let email = Email::parse(&registration.email);
        if email.is_none() {
            faults.push(fault(
                "/email",
                "must be an e-mail address such as alice@example.com",
            ));
        }
        let name = full_name(&registration.full_name);
        if name.is_none() {
            faults.push(fault(
                "/full_name",
                "must have 1 to 200 characters, all of which show",
            ));
        }
        match (email, name) {
            (Some(email), Some(full_name)) => Ok(Self { email, full_name }),
            _ => Err(faults),
        }
    }
}
