//! Ending one's sessions: one, or all.

use axum::extract::State;
use http::StatusCode;
use problem::{FieldError, Problem};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{SESSION_NOT_FOUND, SessionErrors, store, tell_gateways};
use crate::database_problem;
use crate::extract::{Json, Path, Query, QueryParameters, parameter_error};
use crate::identity::caller::{Caller, SessionsWrite};
use crate::identity::gate::DistrustedBy;
use crate::ids::SessionId;
use crate::state::AppState;

/// Which sessions to spare.
pub(in crate::identity) struct EndQuery {
    keep: Option<KeepSession>,
}

/// The session that is spared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
enum KeepSession {
    /// That of this request.
    Current,
}

impl EndQuery {
    /// All but the session of the request.
    pub(in crate::identity) const fn sparing_this() -> Self {
        Self {
            keep: Some(KeepSession::Current),
        }
    }
}

impl QueryParameters for EndQuery {
    fn parse(pairs: &[(String, String)]) -> Result<Self, Vec<FieldError>> {
        let mut keep = None;
        let mut faults = Vec::new();
        for (name, value) in pairs {
            match (name.as_str(), value.as_str()) {
                ("keep", _) if keep.is_some() => {
                    faults.push(parameter_error(name, "duplicate_field", "may be given once"));
                }
                ("keep", "current") => keep = Some(KeepSession::Current),
                ("keep", _) => faults.push(parameter_error(name, "invalid_value", "must be `current`")),
                _ => faults.push(parameter_error(
                    name,
                    "unknown_field",
                    "is not a parameter of this request",
                )),
            }
        }
        if faults.is_empty() {
            Ok(Self { keep })
        } else {
            Err(faults)
        }
    }
}

/// How many sessions have ended.
#[derive(Serialize, ToSchema)]
pub(in crate::identity) struct Ended {
    /// Sessions that were live before this request.
    #[schema(example = 2)]
    ended: usize,
}

/// End sessions
///
/// Ends all of the caller's sessions, that of this request too unless `keep=current`. Their tokens are refused from then on.
/// Without `keep`, no device is trusted any more.
#[utoipa::path(
    delete, path = "/api/v1/me/sessions", tag = "identity", operation_id = "end_sessions",
    security(("bearer" = ["sessions:write"])),
    params(("keep" = inline(Option<KeepSession>), Query, nullable = false, description = "`current` spares the session of this request")),
    responses((status = OK, description = "They have ended", body = Ended))
)]
pub(in crate::identity) async fn end_sessions(
    State(state): State<AppState>,
    caller: Caller<SessionsWrite>,
    Query(query): Query<EndQuery>,
) -> Result<Json<Ended>, Problem> {
    let spared = query.keep.map(|KeepSession::Current| caller.session.uuid());
    let ended = end(&state, &caller, None, spared).await?;
    Ok(Json(Ended { ended }))
}

/// End a session
///
/// Ends one of the caller's sessions. Its tokens are refused from then on.
#[utoipa::path(
    delete, path = "/api/v1/me/sessions/{id}", tag = "identity", operation_id = "end_session",
    security(("bearer" = ["sessions:write"])),
    params(("id" = SessionId, Path, description = "The session")),
    responses((status = NO_CONTENT, description = "It has ended"), SessionErrors)
)]
pub(in crate::identity) async fn end_session(
    State(state): State<AppState>,
    caller: Caller<SessionsWrite>,
    Path(id): Path<SessionId>,
) -> Result<StatusCode, Problem> {
    match end(&state, &caller, Some(id.uuid()), None).await? {
        0 => Err(Problem::new(SESSION_NOT_FOUND)),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// Ends sessions, and tells gateways, or neither; gives how many.
async fn end(
    state: &AppState,
    caller: &Caller<SessionsWrite>,
    only: Option<Uuid>,
    spared: Option<Uuid>,
) -> Result<usize, Problem> {
    let mut tx = caller.begin_read(&state.db).await?;
    if only.is_none() && spared.is_none() {
        let gate = &state.identity.gate;
        gate.distrust_all(
            &mut tx,
            caller.user.uuid(),
            DistrustedBy::SessionsEnded,
            &caller.request_id,
        )
        .await?;
    }
    let used_s = i32::try_from(state.identity.terms.lifetime_s).unwrap_or(i32::MAX);
    let ended = store::end(&mut tx, only, spared, used_s, &caller.request_id)
        .await
        .map_err(database_problem)?;
    let with_tokens = ended.iter().filter(|ended| ended.has_tokens);
    tell_gateways(state, &mut tx, with_tokens.map(|ended| ended.session_id))
        .await
        .map_err(database_problem)?;
    tx.commit().await.map_err(database_problem)?;
    Ok(ended.len())
}
