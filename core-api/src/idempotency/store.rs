//! Queries of the idempotency slice.

use sqlx::PgExecutor;

/// Removes expired records, at most `limit`; returns how many went.
pub(super) async fn purge(db: impl PgExecutor<'_>, limit: i32) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"SELECT core.purge_idempotency_records($1) AS "count!""#, limit)
        .fetch_one(db)
        .await
}
