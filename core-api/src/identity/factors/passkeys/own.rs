//! A person's passkeys: naming and removing them.

use axum::extract::State;
use axum::http::request::Parts;
use http::StatusCode;
use problem::{Problem, catalogue};
use serde::Deserialize;
use utoipa::ToSchema;

use super::RemovalErrors;
use super::enrol::{name_of, no_name};
use super::store;
use crate::database_problem;
use crate::extract::{Json, Path};
use crate::identity::caller::{Caller, FactorsWrite, session_ended};
use crate::identity::factors::own::{confirmed, removal_notice};
use crate::identity::factors::step_up::{Act, StepUpToken};
use crate::identity::factors::{store as factor_store, token_life_s};
use crate::identity::sessions;
use crate::ids::PasskeyId;
use crate::state::AppState;

/// What to call a passkey.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "My phone"}))]
pub(super) struct PasskeyName {
    /// 1 to 64 characters, all of which show.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
}

/// Name a passkey
///
/// Gives one of the caller's passkeys another name.
#[utoipa::path(
    patch, path = "/api/v1/me/factors/passkeys/{id}", tag = "identity", operation_id = "name_passkey",
    security(("bearer" = ["factors:write"])),
    params(("id" = PasskeyId, Path, description = "The passkey")),
    request_body = PasskeyName,
    responses((status = NO_CONTENT, description = "Named"))
)]
pub(super) async fn name_passkey(
    State(state): State<AppState>,
    caller: Caller<FactorsWrite>,
    Path(id): Path<PasskeyId>,
    Json(order): Json<PasskeyName>,
) -> Result<StatusCode, Problem> {
    let name = name_of(&order.name).ok_or_else(no_name)?;
    let mut tx = caller.begin_read(&state.db).await?;
    let session = caller.session.uuid();
    let is_named = store::name_passkey(&mut tx, session, id.uuid(), name, &caller.request_id)
        .await
        .map_err(database_problem)?;
    tx.commit().await.map_err(database_problem)?;
    if is_named {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::new(catalogue::NOT_FOUND))
    }
}

/// Remove a passkey
///
/// It signs nobody in any more; with the last second factor the recovery codes go, and the password alone logs in. It must be
/// confirmed (`/api/v1/me/step-up`), which the passkey itself may do. Every other session of the caller ends at once, and the owner
/// is told by mail.
#[utoipa::path(
    delete, path = "/api/v1/me/factors/passkeys/{id}", tag = "identity", operation_id = "remove_passkey",
    security(("bearer" = ["factors:write"])),
    params(("id" = PasskeyId, Path, description = "The passkey"), StepUpToken),
    responses((status = NO_CONTENT, description = "It is removed"), RemovalErrors)
)]
pub(super) async fn remove_passkey(
    State(state): State<AppState>,
    caller: Caller<FactorsWrite>,
    Path(id): Path<PasskeyId>,
    parts: Parts,
) -> Result<StatusCode, Problem> {
    let act = Act::without_body(&parts);
    drop_passkey(&state, &caller, (id, &parts), &act).await
}

/// [`remove_passkey`], confirmed as it was.
///
/// # Errors
/// As there.
pub(in crate::identity) async fn drop_passkey(
    state: &AppState,
    caller: &Caller<FactorsWrite>,
    (id, parts): (PasskeyId, &Parts),
    act: &Act,
) -> Result<StatusCode, Problem> {
    let session = caller.session.uuid();
    let mut tx = confirmed(state, caller, act).await?;
    let email = factor_store::hold_own_factors(&mut tx, session)
        .await
        .map_err(database_problem)?
        .ok_or_else(session_ended)?;
    let used_s = token_life_s(state);
    let ended = store::remove_passkey(&mut tx, session, id.uuid(), used_s, &caller.request_id)
        .await
        .map_err(database_problem)?
        .ok_or_else(|| Problem::new(catalogue::NOT_FOUND))?;
    sessions::tell_gateways(state, &mut tx, ended)
        .await
        .map_err(database_problem)?;
    let mail = removal_notice(&mut tx, caller, email, &parts.headers).await?;
    state.post.enqueue(&mut tx, &mail, state.now()).await?;
    tx.commit().await.map_err(database_problem)?;
    state.post.wake();
    Ok(StatusCode::NO_CONTENT)
}
