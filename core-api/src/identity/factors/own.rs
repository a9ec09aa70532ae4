//! A person's second factors: which there are, removing the authenticator, and new recovery codes.

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode};
use problem::Problem;
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::enrol::RecoveryCodes;
use super::passkeys::own_passkeys;
use super::recovery::NewCodes;
use super::step_up::{Act, StepUpToken, step_up_required};
use super::store::{self, Removal};
use super::verify::no_randomness;
use super::{ChangeErrors, NO_SECOND_FACTOR, notice, token_life_s};
use crate::database_problem;
use crate::extract::Json;
use crate::identity::caller::{AnyScope, Caller, FactorsWrite, session_ended};
use crate::identity::login::answer;
use crate::identity::sessions;
use crate::ids::PasskeyId;
use crate::mail::{Kind, Mail};
use crate::state::AppState;

/// A second factor.
#[derive(Serialize, ToSchema)]
pub(in crate::identity) struct FactorView {
    /// `totp` or `passkey`.
    #[schema(example = "totp")]
    pub(in crate::identity) kind: &'static str,
    /// Which passkey.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(in crate::identity) id: Option<PasskeyId>,
    /// What its owner calls the passkey.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "My phone")]
    pub(in crate::identity) name: Option<String>,
    /// Whether the passkey is kept elsewhere, too, so that it is not lost with its device.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    is_backed_up: Option<bool>,
    /// Since when it counts.
    pub(in crate::identity) created_at: DateTime<Utc>,
    /// When it was last used.
    pub(in crate::identity) last_used_at: Option<DateTime<Utc>>,
}

/// All second factors of a person.
#[derive(Serialize, ToSchema)]
pub(in crate::identity) struct FactorsView {
    /// None: the password alone logs in.
    pub(in crate::identity) data: Vec<FactorView>,
    /// Recovery codes that were not used yet.
    #[schema(example = 10)]
    pub(in crate::identity) recovery_codes_left: i64,
}

/// List second factors
///
/// The second factors that count, and how many recovery codes are left.
#[utoipa::path(
    get, path = "/api/v1/me/factors", tag = "identity", operation_id = "list_factors",
    security(("bearer" = [])),
    responses((status = OK, description = "The second factors", body = FactorsView))
)]
pub(in crate::identity) async fn list_factors(
    State(state): State<AppState>,
    caller: Caller<AnyScope>,
) -> Result<Json<FactorsView>, Problem> {
    let mut tx = caller.begin_read(&state.db).await?;
    let own = store::own_factors(&mut tx).await.map_err(database_problem)?;
    let totp = own.confirmed_at.map(|created_at| FactorView {
        kind: "totp",
        id: None,
        name: None,
        is_backed_up: None,
        created_at,
        last_used_at: own.last_used_at,
    });
    let passkeys = own_passkeys(&mut tx).await.map_err(database_problem)?;
    let passkeys = passkeys.into_iter().map(|passkey| FactorView {
        kind: "passkey",
        id: Some(PasskeyId::from_uuid(passkey.passkey_id)),
        name: Some(passkey.name),
        is_backed_up: Some(passkey.is_backed_up),
        created_at: passkey.created_at,
        last_used_at: passkey.last_used_at,
    });
    Ok(Json(FactorsView {
        data: totp.into_iter().chain(passkeys).collect(),
        recovery_codes_left: own.codes_left,
    }))
}

/// Remove the authenticator
///
/// Removes the authenticator; with the last second factor the recovery codes go, and the password alone logs in. It must be
/// confirmed (`/api/v1/me/step-up`). Every other session of the caller ends at once, and the owner is told by mail.
#[utoipa::path(
    delete, path = "/api/v1/me/factors/totp", tag = "identity", operation_id = "remove_totp",
    security(("bearer" = ["factors:write"])),
    params(StepUpToken),
    responses((status = NO_CONTENT, description = "It is removed"), ChangeErrors)
)]
pub(super) async fn remove_totp(
    State(state): State<AppState>,
    caller: Caller<FactorsWrite>,
    parts: Parts,
) -> Result<StatusCode, Problem> {
    let act = Act::without_body(&parts);
    drop_totp(&state, &caller, &parts, &act).await
}

/// [`remove_totp`], confirmed as it was.
///
/// # Errors
/// As there.
pub(in crate::identity) async fn drop_totp(
    state: &AppState,
    caller: &Caller<FactorsWrite>,
    parts: &Parts,
    act: &Act,
) -> Result<StatusCode, Problem> {
    let user = caller.user.uuid();
    let mut tx = confirmed(state, caller, act).await?;
    let removal = Removal {
        user,
        spared: Some(caller.session.uuid()),
        outcome: "owner",
        used_s: token_life_s(state),
    };
    let removed = store::remove_factors(&mut tx, removal, &caller.request_id)
        .await
        .map_err(database_problem)?
        .ok_or_else(|| Problem::new(NO_SECOND_FACTOR))?;
    sessions::tell_gateways(state, &mut tx, removed.ended)
        .await
        .map_err(database_problem)?;
    let mail = removal_notice(&mut tx, caller, removed.email, &parts.headers).await?;
    state.post.enqueue(&mut tx, &mail, state.now()).await?;
    tx.commit().await.map_err(database_problem)?;
    state.post.wake();
    Ok(StatusCode::NO_CONTENT)
}

/// Get new recovery codes
///
/// Gives ten recovery codes in place of all earlier ones. It must be confirmed (`/api/v1/me/step-up`). Every other session of the
/// caller ends at once, and the owner is told by mail.
#[utoipa::path(
    post, path = "/api/v1/me/factors/recovery-codes", tag = "identity", operation_id = "renew_recovery_codes",
    security(("bearer" = ["factors:write"])),
    params(StepUpToken),
    responses((status = OK, description = "The codes", body = RecoveryCodes), ChangeErrors)
)]
pub(super) async fn renew_recovery_codes(
    State(state): State<AppState>,
    caller: Caller<FactorsWrite>,
    parts: Parts,
) -> Result<Response, Problem> {
    let session = caller.session.uuid();
    let codes = NewCodes::generate().ok_or_else(no_randomness)?;
    let act = Act::without_body(&parts);
    let mut tx = confirmed(&state, &caller, &act).await?;
    let email = store::hold_own_factors(&mut tx, session)
        .await
        .map_err(database_problem)?
        .ok_or_else(session_ended)?;
    let used_s = token_life_s(&state);
    let ended = store::renew_recovery_codes(&mut tx, session, &codes.hashes, used_s, &caller.request_id)
        .await
        .map_err(database_problem)?
        .ok_or_else(|| Problem::new(NO_SECOND_FACTOR))?;
    sessions::tell_gateways(&state, &mut tx, ended)
        .await
        .map_err(database_problem)?;
    let mail = notice(
        Kind::RecoveryCodesRenewed,
        email,
        caller.user.uuid(),
        &parts.headers,
    );
    state.post.enqueue(&mut tx, &mail, state.now()).await?;
    tx.commit().await.map_err(database_problem)?;
    state.post.wake();
    Ok(answer(RecoveryCodes {
        recovery_codes: codes.texts,
    }))
}

/// A mail that tells an owner that a factor is gone, and what is asked for from now on.
pub(super) async fn removal_notice(
    tx: &mut PgConnection,
    caller: &Caller<FactorsWrite>,
    email: String,
    headers: &HeaderMap,
) -> Result<Mail, Problem> {
    let user = caller.user.uuid();
    let has_another = store::has_second_factor(tx, user)
        .await
        .map_err(database_problem)?;
    let kind = if has_another {
        Kind::OneFactorRemoved
    } else {
        Kind::FactorRemoved
    };
    Ok(notice(kind, email, user, headers))
}

/// A transaction in which the operation is confirmed, with the user's factors held: both happen, or neither.
pub(super) async fn confirmed(
    state: &AppState,
    caller: &Caller<FactorsWrite>,
    act: &Act,
) -> Result<sqlx::Transaction<'static, sqlx::Postgres>, Problem> {
    let mut tx = caller.begin_read(&state.db).await?;
    store::hold_own_factors(&mut tx, caller.session.uuid())
        .await
        .map_err(database_problem)?
        .ok_or_else(session_ended)?;
    if act.use_up(&mut tx, caller, Uuid::new_v4()).await? {
        return Ok(tx);
    }
    tx.commit().await.map_err(database_problem)?; // the trace of it
    Err(step_up_required())
}
