//! Log-out.

use axum::extract::State;
use http::StatusCode;
use problem::Problem;

use super::caller::{AnyScope, Caller, session_ended};
use super::store;
use crate::database_problem;
use crate::state::AppState;

/// Log out
///
/// Ends the session of the token. From then on the core refuses every token of that session, access and refresh.
#[utoipa::path(
    post, path = "/api/v1/auth/logout", tag = "identity", operation_id = "logout",
    security(("bearer" = [])),
    responses((status = NO_CONTENT, description = "The session has ended"))
)]
pub(super) async fn logout(
    State(state): State<AppState>,
    caller: Caller<AnyScope>,
) -> Result<StatusCode, Problem> {
    let ended = store::end_session(
        &state.db,
        caller.session.uuid(),
        caller.user.uuid(),
        &caller.request_id,
    )
    .await
    .map_err(database_problem)?;
    if ended {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(session_ended())
    }
}
