//! Queries of the health slice.

use sqlx::PgExecutor;

/// Asks the database for a sign of life.
pub(super) async fn ping(db: impl PgExecutor<'_>) -> sqlx::Result<i32> {
    sqlx::query_scalar!(r#"SELECT 1 AS "one!""#).fetch_one(db).await
}
