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
use super::error::hashing_busy;
use super::profile::{Email, full_name, normal_password, password_faults};
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
    email: String,
    /// The person's name, 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    full_name: String,
    /// 12 to 128 characters, at least 6 of them different, without the name of the e-mail address.
    #[schema(format = Password, min_length = 12, max_length = 128, value_type = String)]
    #[serde(deserialize_with = "super::secret_text::deserialize")]
    password: Zeroizing<String>,
}

/// Register
///
/// The answer is the same whether the address is new or known, so that nobody can find out who has an account here: a mail
/// says the rest. A new account can be used once its address is verified with the token of that mail. All faults of the
/// request are told at once.
#[utoipa::path(
    post, path = "/api/v1/auth/register", tag = "identity", operation_id = "register",
    request_body = Registration,
    responses((status = ACCEPTED, description = "Accepted", body = Accepted, example = json!({"status": "accepted"})))
)]
pub(super) async fn register(
    State(state): State<AppState>,
    parts: Parts,
    Json(registration): Json<Registration>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let applicant = Applicant::parse(&registration, state.identity.min_password_length).map_err(invalid)?;
    // Hashed whether or not the address is known: the answer takes the same time.
    let hash = state
        .identity
        .passwords
        .hash(applicant.password)
        .await
        .map_err(hashing_busy)?;
    let now = state.now();
    let mail = TicketMail::new(&parts, Kind::Registration, applicant.email.as_str())?;
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

struct Applicant {
    email: Email,
    full_name: String,
    password: Zeroizing<String>,
}

impl Applicant {
    fn parse(registration: &Registration, min_length: usize) -> Result<Self, Vec<FieldError>> {
        let fault = |pointer: &str, detail: &str| FieldError {
            pointer: pointer.to_owned(),
            code: "invalid_value".to_owned(),
            detail: detail.to_owned(),
        };
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
                "must have 1 to 200 characters and no control characters",
            ));
        }
        let password = normal_password(&registration.password);
        faults.extend(password_faults(&password, min_length, email.as_ref()));
        match (email, name) {
            (Some(email), Some(full_name)) if faults.is_empty() => Ok(Self {
                email,
                full_name,
                password,
            }),
            _ => Err(faults),
        }
    }
}
