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
    if end(&state, &caller).await.map_err(database_problem)? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(session_ended())
    }
}

/// Ends the session, and tells gateways, or neither; false when it was over already.
async fn end(state: &AppState, caller: &Caller<AnyScope>) -> sqlx::Result<bool> {
    let mut tx = state.db.begin().await?;
    let (session, user) = (caller.session.uuid(), caller.user.uuid());
    let ended = store::end_session(&mut *tx, session, user, &caller.request_id).await?;
    if ended {
        let terms = &state.identity.terms;
        let session = caller.session.to_string();
        store::revoke_ended_session(&mut *tx, &terms.issuer, &session, terms.lifetime_s).await?;
    }
    tx.commit().await?;
    Ok(ended)
}
