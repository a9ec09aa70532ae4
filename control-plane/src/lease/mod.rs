//! Who does what is due, when several control planes run: a lease with a growing epoch.
//!
//! It saves work and decides nothing: every step is safe when two try it. Whoever takes the lease gets a larger epoch, and a
//! transaction that writes under it checks its own epoch, so that a process that slept through the end of its lease changes
//! nothing. No session lock: that would be lost with its connection, unknown to the process.

mod store;

use std::time::Duration;

use database::Pool;
use sqlx::PgConnection;

/// Intervals of work for which a lease lasts: a holder may miss two.
const INTERVALS: u32 = 3;
/// Shortest lease, so that a slow statement does not lose it.
const SHORTEST: Duration = Duration::from_secs(5);

/// What this process knows of the lease for one purpose.
#[derive(Debug)]
pub(crate) struct Lease {
    purpose: &'static str,
    lasts_ms: i64,
    fence: Option<Fence>,
}

/// The right to do what is due, as long as nobody has got a larger epoch.
#[derive(Debug, Clone)]
pub(crate) struct Fence {
    purpose: &'static str,
    epoch: i64,
}

impl Lease {
    /// A lease for work that is done every `interval`. Nothing is asked for yet.
    pub(crate) fn new(purpose: &'static str, interval: Duration) -> Self {
        let lasts = interval.saturating_mul(INTERVALS).max(SHORTEST);
        Self {
            purpose,
            lasts_ms: i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX),
            fence: None,
        }
    }

    /// Prolongs the lease, or takes one that is over; nothing while another process has it.
    pub(crate) async fn hold(&mut self, db: &Pool) -> sqlx::Result<Option<Fence>> {
        if let Some(fence) = &self.fence
            && store::prolong(db, fence.purpose, fence.epoch, self.lasts_ms).await?
        {
            return Ok(self.fence.clone());
        }
        let epoch = store::take(db, self.purpose, self.lasts_ms).await?;
        self.fence = epoch.map(|epoch| Fence {
            purpose: self.purpose,
            epoch,
        });
        Ok(self.fence.clone())
    }

    /// Lets the next process begin at once. One that cannot be told waits until the lease is over.
    pub(crate) async fn give_back(&mut self, db: &Pool) {
        if let Some(fence) = self.fence.take()
            && let Err(error) = store::end(db, fence.purpose, fence.epoch).await
        {
            tracing::debug!(%error, "the lease was not given back; it ends by itself");
        }
    }
}

impl Fence {
    /// Whether the lease is still ours; if so, nobody takes it before the transaction ends.
    pub(crate) async fn holds(&self, conn: &mut PgConnection) -> sqlx::Result<bool> {
        store::holds(conn, self.purpose, self.epoch).await
    }
}

#[cfg(test)]
mod tests {
    use test_support::TestDatabase;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    async fn expire(database: &TestDatabase) {
        store::expire(&database.owner_pool().into()).await.unwrap();
    }

    #[tokio::test]
    async fn one_process_has_the_lease_until_it_is_over_or_given_back() {
        let database = TestDatabase::create().await;
        let db = Pool::from(database.pool_as("portico_control"));
        let (mut one, mut two) = (Lease::new("test", HOUR), Lease::new("test", HOUR));
        let first = one.hold(&db).await.unwrap().unwrap();
        assert!(two.hold(&db).await.unwrap().is_none());
        assert_eq!(one.hold(&db).await.unwrap().unwrap().epoch, first.epoch);

        one.give_back(&db).await;
        let second = two.hold(&db).await.unwrap().unwrap();
        assert!(second.epoch > first.epoch);
        assert!(one.hold(&db).await.unwrap().is_none());
        let mut conn = db.acquire().await.unwrap();
        assert!(second.holds(&mut conn).await.unwrap() && !first.holds(&mut conn).await.unwrap());
    }

    #[tokio::test]
    async fn a_holder_that_slept_through_the_end_changes_nothing() {
        let database = TestDatabase::create().await;
        let db = Pool::from(database.pool_as("portico_control"));
        let (mut sleeper, mut other) = (Lease::new("test", HOUR), Lease::new("test", HOUR));
        let old = sleeper.hold(&db).await.unwrap().unwrap();
        expire(&database).await;
        let mut conn = db.acquire().await.unwrap();
        assert!(
            !old.holds(&mut conn).await.unwrap(),
            "over, though nobody has taken it"
        );
        other.hold(&db).await.unwrap().unwrap();
        assert!(!old.holds(&mut conn).await.unwrap());
        assert!(sleeper.hold(&db).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn of_many_that_ask_at_once_one_gets_it() {
        let database = TestDatabase::create().await;
        let db = Pool::from(database.pool_as("portico_control"));
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let db = db.clone();
            asked.spawn(async move { Lease::new("test", HOUR).hold(&db).await.unwrap().is_some() });
        }
        let got = asked.join_all().await.into_iter().filter(|got| *got).count();
        assert_eq!(got, 1);
    }
}
