//! Confirming an operation with a passkey: what the authenticator is asked is asked for this operation, and for no other.

use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use problem::Problem;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::log_in::PasskeyAnswer;
use super::store::{self, Held, OwnCeremony, Subject};
use super::verify::Right;
use super::{Ceremony, ChallengeErrors, Purpose, not_good, passkeys, passkeys_off};
use crate::extract::Json;
use crate::identity::caller::{Caller, FactorsWrite, session_ended};
use crate::identity::factors::digest::digest;
use crate::identity::factors::step_up::not_whole;
use crate::identity::factors::{NO_SECOND_FACTOR, store as factor_store};
use crate::identity::login::answer;
use crate::mail::MailToken;
use crate::state::AppState;
use crate::{database_problem, metrics};

/// What is to be confirmed with a passkey.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "method": "POST", "path": "/api/v1/transfers",
    "body": {
        "from_account_id": "acc_01kafpwz0zfmx9tpr6z5qgyf0h", "to_account_id": "acc_01kafpx3vgfd5t8y2w5m0c9b7e",
        "amount": 2_500_000, "currency": "EUR"
    }
}))]
pub(super) struct OperationToConfirm {
    /// The method of the request.
    #[schema(max_length = 16, example = "POST")]
    method: String,
    /// Its path, with the query where there is one.
    #[schema(max_length = 1024, example = "/api/v1/transfers")]
    path: String,
    /// Its body, without a password; nothing for a request without one.
    #[schema(value_type = Option<Object>)]
    body: Option<Value>,
}

/// Begin to confirm an operation with a passkey
///
/// Gives what a browser asks the caller's authenticators for (WebAuthn), for this one request. The answer goes to
/// `/api/v1/me/step-up` within five minutes, with the same `method`, `path` and `body`, from the same session.
#[utoipa::path(
    post, path = "/api/v1/me/step-up/passkey", tag = "identity", operation_id = "begin_passkey_step_up",
    security(("bearer" = ["factors:write"])),
    request_body = OperationToConfirm,
    responses((status = OK, description = "What the authenticator is asked", body = Ceremony), ChallengeErrors)
)]
pub(super) async fn begin_passkey_step_up(
    State(state): State<AppState>,
    caller: Caller<FactorsWrite>,
    Json(operation): Json<OperationToConfirm>,
) -> Result<Response, Problem> {
    let passkeys = passkeys(&state).ok_or_else(passkeys_off)?;
    let body = operation.body.unwrap_or_default();
    let digest = digest(&operation.method, &operation.path, &body).ok_or_else(not_whole)?;
    let mut tx = caller.begin_read(&state.db).await?;
    factor_store::hold_own_factors(&mut tx, caller.session.uuid())
        .await
        .map_err(database_problem)?
        .ok_or_else(session_ended)?;
    let own = store::own_passkeys(&mut tx).await.map_err(database_problem)?;
    if own.is_empty() {
        return Err(Problem::new(NO_SECOND_FACTOR).detail("add a passkey at /api/v1/me/factors/passkeys"));
    }
    let mut asked = passkeys.ask().map_err(Problem::internal)?;
    if let Some(options) = asked.public_key.as_object_mut() {
        let allowed = own.iter().map(|passkey| {
            let id = URL_SAFE_NO_PAD.encode(&passkey.credential_id);
            json!({"type": "public-key", "id": id})
        });
        options.insert("allowCredentials".to_owned(), allowed.collect());
    }
    let new = OwnCeremony {
        session: caller.session.uuid(),
        purpose: Purpose::StepUp,
        token_hash: &asked.token.hash(),
        digest: Some(&digest),
        state: &asked.state,
    };
    store::begin_own(&mut tx, new).await.map_err(database_problem)?;
    tx.commit().await.map_err(database_problem)?;
    Ok(answer(Ceremony::new(&asked.token.to_text(), asked.public_key)))
}

/// What an authenticator answered to a confirmation.
pub(in crate::identity::factors) struct Answered {
    /// None when it is not right.
    right: Option<(Held, Right)>,
}

impl Answered {
    /// Since when the passkey counts, when it is right, and the time of the database.
    pub(in crate::identity::factors) fn since(&self) -> Option<(DateTime<Utc>, i64)> {
        self.right
            .as_ref()
            .map(|(held, _)| (held.created_at, held.now_ms))
    }

    /// Notes that the passkey was used; false when the answer is not right.
    ///
    /// # Errors
    /// 503 without the database.
    pub(in crate::identity::factors) async fn note(
        &self,
        tx: &mut PgConnection,
        user: Uuid,
        session: Uuid,
        request_id: &str,
    ) -> Result<bool, Problem> {
        let Some((_, right)) = &self.right else {
            metrics::factor("passkey", "wrong");
            let subject = Subject {
                user,
                session: Some(session),
                passkey: None,
            };
            store::record(tx, subject, ("passkey.refused", "step_up"), request_id)
                .await
                .map_err(database_problem)?;
            return Ok(false);
        };
        right.note(tx, user, Some(session), request_id).await?;
        Ok(true)
    }
}

/// Uses the ceremony up, and compares the answer with what was asked for this operation. Commit the transaction either way.
///
/// # Errors
/// 403 `invalid-challenge` when it is no ceremony of this session; 409 `passkeys-off`; 503 without the database.
pub(in crate::identity::factors) async fn answered(
    state: &AppState,
    tx: &mut PgConnection,
    (user, session): (Uuid, Uuid),
    digest: &[u8],
    shown: PasskeyAnswer,
) -> Result<Answered, Problem> {
    let passkeys = passkeys(state).ok_or_else(passkeys_off)?;
    let token_hash = MailToken::parse(&shown.ceremony).ok_or_else(not_good)?.hash();
    let used = store::use_ceremony(tx, &token_hash, Purpose::StepUp, Some(session));
    let used = used.await.map_err(database_problem)?.ok_or_else(not_good)?;
    let nothing = Answered { right: None };
    let Some(answer) = shown.credential.read() else {
        return Ok(nothing);
    };
    // Some authenticators say whose it is also when they are told which to use.
    let is_his = passkeys.owner(&answer).is_none_or(|owner| owner == user);
    if used.digest.as_deref() != Some(digest) || !is_his {
        return Ok(nothing);
    }
    let held = store::hold_passkey(tx, user, answer.raw_id.as_slice())
        .await
        .map_err(database_problem)?;
    let Some(held) = held else { return Ok(nothing) };
    let right = passkeys
        .compare(state.identity.gate.admit_passkey(), used.state, &answer, &held)
        .map_err(Problem::internal)?;
    Ok(Answered {
        right: right.map(|right| (held, right)),
    })
}
