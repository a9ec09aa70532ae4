//! Queries of leases.

use database::Pool;
use sqlx::PgConnection;

/// Takes a lease that nobody has, for so many milliseconds. Gives its epoch.
pub(super) async fn take(db: &Pool, purpose: &str, lasts_ms: i64) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        r#"
        INSERT INTO control.lease (purpose, epoch, expires_at)
        VALUES ($1, 1, clock_timestamp() + $2::bigint * interval '1 millisecond')
            ON CONFLICT (purpose) DO UPDATE SET epoch = lease.epoch + 1, expires_at = excluded.expires_at
         WHERE lease.expires_at <= clock_timestamp()
        RETURNING epoch
        "#,
        purpose,
        lasts_ms,
    )
    .fetch_optional(db)
    .await
}

/// Prolongs a lease that is still ours and not over. Says whether it was.
pub(super) async fn prolong(db: &Pool, purpose: &str, epoch: i64, lasts_ms: i64) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE control.lease SET expires_at = clock_timestamp() + $3::bigint * interval '1 millisecond'
          WHERE purpose = $1 AND epoch = $2 AND expires_at > clock_timestamp()",
        purpose,
        epoch,
        lasts_ms,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends a lease that is ours.
pub(super) async fn end(db: &Pool, purpose: &str, epoch: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE control.lease SET expires_at = clock_timestamp() WHERE purpose = $1 AND epoch = $2",
        purpose,
        epoch,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whether this epoch is the last one given and not over. The row stays locked against takers until the transaction ends.
pub(super) async fn holds(conn: &mut PgConnection, purpose: &str, epoch: i64) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar!(
        "SELECT epoch FROM control.lease
          WHERE purpose = $1 AND epoch = $2 AND expires_at > clock_timestamp() FOR SHARE",
        purpose,
        epoch,
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.is_some())
}

/// Ends every lease, as time would.
#[cfg(test)]
pub(super) async fn expire(db: &Pool) -> sqlx::Result<()> {
    sqlx::query!("UPDATE control.lease SET expires_at = clock_timestamp() - interval '1 second'")
        .execute(db)
        .await?;
    Ok(())
}
