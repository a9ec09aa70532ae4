//! The job that removes expired answers (BNK-3).

use std::time::Duration;

use service_runtime::shutdown::Shutdown;
use sqlx::PgPool;

use super::store;
use crate::metrics;

/// Rows of one statement: small enough to hold no lock for long.
const BATCH: i32 = 1_000;

/// Removes what has expired, now and then again, until the process stops. Several processes may do it at once.
pub(crate) async fn purge_expired(db: PgPool, every: Duration, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(every);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match purge_once(&db, &shutdown).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "removed expired idempotency records"),
            Err(error) => tracing::warn!(%error, "expired idempotency records cannot be removed"),
        }
    }
}

async fn purge_once(db: &PgPool, shutdown: &Shutdown) -> sqlx::Result<u64> {
    let mut total = 0_u64;
    loop {
        let count = store::purge(db, BATCH).await?;
        let removed = count.unsigned_abs();
        metrics::purged(removed);
        total = total.saturating_add(removed);
        if count < i64::from(BATCH) || shutdown.is_triggered() {
            return Ok(total);
        }
    }
}
