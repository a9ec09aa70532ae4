//! Naming a session, so that its owner knows it again.

use axum::extract::State;
use http::StatusCode;
use problem::{FieldError, Problem};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{SESSION_NOT_FOUND, SessionErrors, store};
use crate::database_problem;
use crate::extract::{Json, Path, invalid};
use crate::hidden::shows;
use crate::identity::caller::{Caller, SessionsWrite};
use crate::ids::SessionId;
use crate::state::AppState;

const MAX_NAME_CHARS: usize = 64;

/// What to call a session.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "My phone"}))]
pub(in crate::identity) struct SessionName {
    /// 1 to 64 characters, all of which show.
    #[schema(min_length = 1, max_length = 64)]
    pub(in crate::identity) name: String,
}

/// Name a session
///
/// Gives one of the caller's live sessions a name that the list shows.
#[utoipa::path(
    patch, path = "/api/v1/me/sessions/{id}", tag = "identity", operation_id = "name_session",
    security(("bearer" = ["sessions:write"])),
    params(("id" = SessionId, Path, description = "The session")),
    request_body = SessionName,
    responses((status = NO_CONTENT, description = "Named"), SessionErrors)
)]
pub(in crate::identity) async fn name_session(
    State(state): State<AppState>,
    caller: Caller<SessionsWrite>,
    Path(id): Path<SessionId>,
    Json(order): Json<SessionName>,
) -> Result<StatusCode, Problem> {
    let name = order.name.trim();
    if !(1..=MAX_NAME_CHARS).contains(&name.chars().count()) || !shows(name) {
        return Err(invalid(vec![FieldError::new(
            "/name",
            "invalid_value",
            format!("must have 1 to {MAX_NAME_CHARS} characters, all of which show"),
        )]));
    }
    let mut tx = caller.begin_read(&state.db).await?;
    let named = store::name(&mut tx, id.uuid(), name)
        .await
        .map_err(database_problem)?;
    tx.commit().await.map_err(database_problem)?;
    if named {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::new(SESSION_NOT_FOUND))
    }
}
