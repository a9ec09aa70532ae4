//! The job that removes expired answers (BNK-3).

use std::time::Duration;

use database::Pool;
use service_runtime::shutdown::Shutdown;

use super::store;
use crate::metrics;

/// Rows of one statement: small enough to hold no lock for long.
const BATCH: i32 = 1_000;

/// Removes what has expired, now and then again, until the process stops. Several processes may do it at once.
pub(crate) async fn purge_expired(db: Pool, every: Duration, shutdown: Shutdown) {
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

async fn purge_once(db: &Pool, shutdown: &Shutdown) -> sqlx::Result<u64> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bank::TestBank;
    use crate::tests::store as db;

    const EXPIRED: &str = "- interval '1 s'";
    const LIVE: &str = "+ interval '1 h'";

    /// Keeps this many answers, with keys `<name> <number>`, that expire so long from now.
    async fn keep(bank: &TestBank, name: &str, count: i64, expires: &str) {
        let sql = format!(
            "INSERT INTO core.idempotency_record (tenant_id, principal_id, idempotency_key, request_hash, resource_id,
                                                  status, body, created_at, expires_at)
             SELECT (SELECT min(tenant_id) FROM core.tenant), gen_random_uuid(), '{name} ' || n, sha256(''),
                    gen_random_uuid(), 201, '', now() - interval '1 day', now() {expires}
               FROM generate_series(1, {count}) n"
        );
        assert_eq!(
            db::execute(&bank.owner, &sql).await.unwrap(),
            count.unsigned_abs()
        );
    }

    async fn kept(bank: &TestBank) -> Vec<String> {
        db::texts(
            &bank.owner,
            "SELECT idempotency_key FROM core.idempotency_record ORDER BY 1",
        )
        .await
    }

    #[tokio::test]
    async fn one_round_removes_all_that_expired_in_several_statements_and_nothing_else() {
        let bank = TestBank::new().await;
        let pool = Pool::from(bank.db.pool_as("portico_core"));
        let expired = i64::from(BATCH) + 1;
        keep(&bank, "expired", expired, EXPIRED).await;
        keep(&bank, "live", 1, LIVE).await;
        let removed = purge_once(&pool, &Shutdown::new()).await.unwrap();
        assert_eq!(removed, expired.unsigned_abs());
        assert_eq!(kept(&bank).await, ["live 1"]);
        assert_eq!(purge_once(&pool, &Shutdown::new()).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_shutdown_ends_a_round_after_one_statement() {
        let bank = TestBank::new().await;
        keep(&bank, "expired", i64::from(BATCH) + 1, EXPIRED).await;
        let shutdown = Shutdown::new();
        shutdown.trigger();
        let removed = purge_once(&bank.db.pool_as("portico_core").into(), &shutdown)
            .await
            .unwrap();
        assert_eq!(removed, u64::from(BATCH.unsigned_abs()));
        assert_eq!(kept(&bank).await.len(), 1);
    }

    #[tokio::test]
    async fn the_job_goes_on_round_after_round_until_shutdown() {
        let bank = TestBank::new().await;
        let shutdown = Shutdown::new();
        let every = Duration::from_millis(5);
        let pool = Pool::from(bank.db.pool_as("portico_core"));
        keep(&bank, "live", 1, LIVE).await;
        let clients = async {
            for round in ["first", "second", "third"] {
                keep(&bank, round, 1, EXPIRED).await;
                while kept(&bank).await != ["live 1"] {
                    tokio::task::yield_now().await;
                }
            }
            shutdown.trigger();
        };
        let both = async { tokio::join!(purge_expired(pool, every, shutdown.clone()), clients) };
        tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
        assert_eq!(kept(&bank).await, ["live 1"]);
    }
}
