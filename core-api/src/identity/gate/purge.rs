//! The job that removes counters and devices that say nothing any more.

use std::time::Duration;

use database::Pool;
use service_runtime::shutdown::Shutdown;

use super::store;

/// Rows of one statement: small enough to hold no lock for long.
const BATCH: i32 = 1_000;

/// Removes what has expired, now and then again, until the process stops. Several processes may do it at once.
pub(crate) async fn purge_gate(db: Pool, every: Duration, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(every);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = purge_once(&db, &shutdown).await {
            tracing::warn!(%error, "expired counters of attempts cannot be removed");
        }
    }
}

pub(super) async fn purge_once(db: &Pool, shutdown: &Shutdown) -> sqlx::Result<()> {
    while store::purge(db, BATCH).await? >= i64::from(BATCH) && !shutdown.is_triggered() {}
    Ok(())
}
