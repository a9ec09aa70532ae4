//! A new password for whoever reads the mailbox (IDN-3).

use axum::extract::State;
use axum::http::request::Parts;
use http::StatusCode;
use problem::Problem;
use serde::Deserialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::client_network::ClientNetwork;
use super::error::{ResetErrors, hashing_busy};
use super::gate::{DistrustedBy, UnlockedBy};
use super::hash_queue::Priority;
use super::passwords::{NewPassword, fault};
use super::tickets::{self, Accepted, Address};
use super::{caller, sessions, store};
use crate::database_problem;
use crate::extract::{Json, invalid};
use crate::mail::{Addressee, Kind, Language, Mail};
use crate::state::AppState;

/// A new password, and the ticket that allows it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"token": "mZ1b0rWJ0kq3w1Vn4V0m8b7c6d5e4f3g2h1i0jKLMNO", "password": "correct horse battery"}))]
pub(super) struct PasswordReset {
    /// What stands behind the `#` of the link.
    #[schema(max_length = 128, value_type = String)]
    #[serde(deserialize_with = "super::secret_text::deserialize")]
    pub(super) token: Zeroizing<String>,
    /// As at registration. Every rule it breaks is told at once.
    #[schema(format = Password, max_length = 1024, value_type = String)]
    #[serde(deserialize_with = "super::secret_text::deserialize")]
    pub(super) password: Zeroizing<String>,
}

/// Ask for a new password
///
/// Sends a mail with a token that sets a new password, when the address has an account. The answer is the same for every
/// address. One address gets one such mail in ten minutes and five in a day.
#[utoipa::path(
    post, path = "/api/v1/auth/password/forgot", tag = "identity", operation_id = "forgot_password",
    request_body = Address,
    responses((status = ACCEPTED, description = "Accepted", body = Accepted))
)]
pub(super) async fn forgot_password(
    State(state): State<AppState>,
    parts: Parts,
    Json(address): Json<Address>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    tickets::send_to(&state, &parts, Kind::PasswordReset, &address).await
}

/// Set a new password
///
/// Uses the token of a mail, once, within an hour. Every session of the user ends, no device is trusted any more, a lock after
/// failed log-ins is lifted, and the owner is told by mail. A password that is refused leaves the token good.
#[utoipa::path(
    post, path = "/api/v1/auth/password/reset", tag = "identity", operation_id = "reset_password",
    request_body = PasswordReset,
    responses((status = NO_CONTENT, description = "The password is the new one"), ResetErrors)
)]
pub(super) async fn reset_password(
    State(state): State<AppState>,
    parts: Parts,
    Json(reset): Json<PasswordReset>,
) -> Result<StatusCode, Problem> {
    let token_hash = tickets::hash_of(&reset.token).ok_or_else(tickets::not_good)?;
    // Looked at before a place is taken: guessing tokens costs us a query, not a hash.
    let owner = store::password_reset_candidate(&state.db, &token_hash)
        .await
        .map_err(database_problem)?
        .ok_or_else(tickets::not_good)?;
    let passwords = &state.identity.passwords;
    let turn = passwords
        .take(Priority::Trusted, ClientNetwork::of(&parts.headers))
        .map_err(hashing_busy)?;
    let judged = passwords
        .judge(turn, reset.password, owner, true)
        .await
        .map_err(hashing_busy)?;
    let hash = match judged {
        NewPassword::Hashed(hash) => hash,
        NewPassword::Judged(violations) => {
            let faults = violations.iter().map(|violation| fault("/password", violation));
            return Err(invalid(faults.collect()));
        }
    };
    let request_id = caller::request_id(&parts);
    let mut tx = state.db.begin().await.map_err(database_problem)?;
    let secured = store::reset_password(&mut *tx, &token_hash, &hash, &request_id)
        .await
        .map_err(database_problem)?
        .ok_or_else(tickets::not_good)?;
    sessions::tell_gateways(&state, &mut tx, secured.ended)
        .await
        .map_err(database_problem)?;
    let gate = &state.identity.gate;
    gate.unlock_owner(&mut tx, &secured.email, UnlockedBy::PasswordReset, &request_id)
        .await?;
    gate.distrust_all(&mut tx, secured.user_id, DistrustedBy::PasswordReset, &request_id)
        .await?;
    let mail = Mail {
        kind: Kind::PasswordChanged,
        to: secured.email,
        addressee: Addressee::User(secured.user_id),
        language: Language::asked_for(&parts.headers).unwrap_or_default(),
        token: None,
        new_address: None,
    };
    state.post.enqueue(&mut tx, &mail, state.now()).await?;
    tx.commit().await.map_err(database_problem)?;
    state.post.wake();
    Ok(StatusCode::NO_CONTENT)
}
