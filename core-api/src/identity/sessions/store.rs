//! Queries of the sessions slice; in a transaction that is bound to a user.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// A live session.
pub(super) struct SessionRow {
    pub(super) session_id: Uuid,
    pub(super) name: Option<String>,
    pub(super) user_agent: Option<String>,
    pub(super) network: Option<String>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) last_used_at: DateTime<Utc>,
    pub(super) expires_at: DateTime<Utc>,
}

/// The live sessions, the last used first.
pub(super) async fn live(conn: &mut PgConnection, limit: i32) -> sqlx::Result<Vec<SessionRow>> {
    sqlx::query_as!(
        SessionRow,
        r#"SELECT session_id AS "session_id!", name, user_agent, network, created_at AS "created_at!",
                  last_used_at AS "last_used_at!", expires_at AS "expires_at!"
             FROM core.own_sessions($1)"#,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// False: no such live session.
pub(super) async fn name(conn: &mut PgConnection, session_id: Uuid, name: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT core.name_own_session($1, $2) AS "named!""#,
        session_id,
        name
    )
    .fetch_one(conn)
    .await
}

/// A session that was live, and is over.
pub(super) struct EndedSession {
    pub(super) session_id: Uuid,
    /// It was used so lately that an access token of it may be good.
    pub(super) has_tokens: bool,
}

/// Ends one live session or all but one.
pub(super) async fn end(
    conn: &mut PgConnection,
    only: Option<Uuid>,
    spared: Option<Uuid>,
    used_s: i32,
    request_id: &str,
) -> sqlx::Result<Vec<EndedSession>> {
    sqlx::query_as!(
        EndedSession,
        r#"SELECT session_id AS "session_id!", has_tokens AS "has_tokens!" FROM core.end_own_sessions($1, $2, $3, $4)"#,
        only as _,
        spared as _,
        used_s,
        request_id,
    )
    .fetch_all(conn)
    .await
}
