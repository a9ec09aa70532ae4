//! A person's sessions: each log-in, on which device, and how to end it (IDN-10).
//!
//! The core refuses an ended session at once, gateways within a second.

mod end;
mod list;
mod name;
mod opened_from;
mod store;
#[cfg(test)]
mod tests;

pub(super) use self::opened_from::OpenedFrom;

use problem::ProblemType;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::documentation::problems;
use crate::ids::SessionId;
use crate::state::AppState;

/// The caller has no such session, or it is over.
const SESSION_NOT_FOUND: ProblemType = ProblemType::new("session-not-found", 404, "There is no such session");

problems! {
    /// What an operation on one session may be refused with.
    SessionErrors: SESSION_NOT_FOUND;
}

/// The routes of this slice.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list::list_sessions, end::end_sessions))
        .routes(routes!(name::name_session, end::end_session))
}

/// Tells gateways of a session that has ended, in the transaction that ends it.
async fn tell_gateways(
    state: &AppState,
    tx: &mut sqlx::PgConnection,
    session: SessionId,
) -> sqlx::Result<()> {
    let terms = &state.identity.terms;
    super::store::revoke_ended_session(tx, &terms.issuer, &session.to_string(), terms.lifetime_s).await?;
    Ok(())
}
