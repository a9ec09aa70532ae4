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

pub(super) use self::end::{EndQuery, end_session as end_own_session, end_sessions as end_own_sessions};
pub(super) use self::list::{SessionView, list_sessions as own_sessions};
pub(super) use self::name::{SessionName, name_session as name_own_session};
pub(super) use self::opened_from::OpenedFrom;

use problem::ProblemType;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

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

/// Tells gateways of sessions that have ended, in the transaction that ends them.
pub(super) async fn tell_gateways(
    state: &AppState,
    tx: &mut sqlx::PgConnection,
    ended: impl IntoIterator<Item = Uuid>,
) -> sqlx::Result<()> {
    let terms = &state.identity.terms;
    tell_gateways_of(tx, &terms.issuer, terms.lifetime_s, ended).await
}

/// [`tell_gateways`] where nothing but the settings are at hand.
pub(super) async fn tell_gateways_of(
    tx: &mut sqlx::PgConnection,
    issuer: &str,
    lifetime_s: u32,
    ended: impl IntoIterator<Item = Uuid>,
) -> sqlx::Result<()> {
    let names: Vec<String> = ended
        .into_iter()
        .map(|session| SessionId::from_uuid(session).to_string())
        .collect();
    super::store::revoke_ended_sessions(tx, issuer, &names, lifetime_s).await
}
