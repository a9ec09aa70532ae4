//! How the queue stands, for the metrics, and the removal of what is over.

use std::time::Duration;

use database::Pool;
use service_runtime::shutdown::Shutdown;

use super::store;
use crate::metrics;

/// How often the queue is counted.
const COUNT_EVERY: Duration = Duration::from_secs(15);
/// How often what is over is removed.
const PURGE_EVERY: Duration = Duration::from_secs(600);
/// Rows of one statement: small enough to hold no lock for long.
const BATCH: i32 = 1_000;

/// Keeps the metrics of the queue up to date.
pub(crate) async fn count(db: Pool, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(COUNT_EVERY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match store::backlog(&db).await {
            Ok(backlog) => metrics::mail_backlog(backlog.waiting, backlog.oldest_s, backlog.dead),
            Err(error) => tracing::warn!(%error, "the mail queue cannot be counted"),
        }
    }
}

/// Removes mails that were settled seven days ago and tickets that are over, now and then again. Several processes may do
/// it at once.
pub(crate) async fn purge(db: Pool, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(PURGE_EVERY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match purge_once(&db, &shutdown).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "removed old mails and tickets"),
            Err(error) => tracing::warn!(%error, "old mails and tickets cannot be removed"),
        }
    }
}

pub(super) async fn purge_once(db: &Pool, shutdown: &Shutdown) -> sqlx::Result<u64> {
    let mut total = 0_u64;
    loop {
        let (jobs, tickets) = (
            store::purge_jobs(db, BATCH).await?,
            store::purge_tickets(db, BATCH).await?,
        );
        total = total
            .saturating_add(jobs.unsigned_abs())
            .saturating_add(tickets.unsigned_abs());
        if (jobs < i64::from(BATCH) && tickets < i64::from(BATCH)) || shutdown.is_triggered() {
            return Ok(total);
        }
    }
}
