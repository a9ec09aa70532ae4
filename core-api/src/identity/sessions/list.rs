//! Listing one's sessions.

use axum::extract::State;
use chrono::{DateTime, Utc};
use problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::store;
use crate::database_problem;
use crate::extract::Json;
use crate::identity::caller::{Caller, SessionsRead};
use crate::ids::SessionId;
use crate::state::AppState;

/// More than a person has devices; the longest unused are left out.
const MOST_SHOWN: i32 = 100;

/// A session: one log-in and its refresh tokens.
#[derive(Serialize, ToSchema)]
pub(in crate::identity) struct SessionView {
    /// The session.
    pub(in crate::identity) id: SessionId,
    /// What its owner calls it.
    #[schema(example = "My phone")]
    pub(in crate::identity) name: Option<String>,
    /// The program that logged in, as it calls itself: the first 200 characters of its `User-Agent`.
    #[schema(example = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")]
    pub(in crate::identity) user_agent: Option<String>,
    /// The network that the log-in came from, in CIDR notation; the address itself is not kept.
    #[schema(example = "192.0.2.0/24")]
    pub(in crate::identity) network: Option<String>,
    /// Whether this request belongs to it.
    pub(in crate::identity) current: bool,
    /// The log-in.
    pub(in crate::identity) created_at: DateTime<Utc>,
    /// The last log-in or refresh.
    pub(in crate::identity) last_used_at: DateTime<Utc>,
    /// It ends then unless it is refreshed before.
    pub(in crate::identity) expires_at: DateTime<Utc>,
}

/// The caller's live sessions.
#[derive(Serialize, ToSchema)]
pub(in crate::identity) struct SessionsView {
    /// At most 100, the last used first.
    pub(in crate::identity) data: Vec<SessionView>,
}

/// List sessions
///
/// The caller's live sessions, the last used first: where one is logged in.
#[utoipa::path(
    get, path = "/api/v1/me/sessions", tag = "identity", operation_id = "list_sessions",
    security(("bearer" = ["sessions:read"])),
    responses((status = OK, description = "The live sessions", body = SessionsView))
)]
pub(in crate::identity) async fn list_sessions(
    State(state): State<AppState>,
    caller: Caller<SessionsRead>,
) -> Result<Json<SessionsView>, Problem> {
    let mut tx = caller.begin_read(&state.db).await?;
    let rows = store::live(&mut tx, MOST_SHOWN).await.map_err(database_problem)?;
    let view = |row: store::SessionRow| {
        let id = SessionId::from_uuid(row.session_id);
        SessionView {
            current: id == caller.session,
            id,
            name: row.name,
            user_agent: row.user_agent,
            network: row.network,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            expires_at: row.expires_at,
        }
    };
    Ok(Json(SessionsView {
        data: rows.into_iter().map(view).collect(),
    }))
}
