//! Readiness: the named checks that decide whether this process should get work.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use serde::Serialize;

type Check = dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync;

/// How long one check may take before it counts as failed.
const DEADLINE: Duration = Duration::from_secs(2);

/// The checks of one service. Liveness needs none: a process that answers is alive.
#[derive(Clone, Default)]
pub struct Readiness(Vec<(&'static str, Arc<Check>)>);

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// What `/health/ready` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `ready` or `not ready`.
    pub status: &'static str,
    /// Each check: `ok`, or what is missing.
    pub checks: BTreeMap<&'static str, String>,
}

impl Report {
    /// Whether every check passed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status == "ready"
    }
}

impl Readiness {
    /// No checks yet: always ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check. Its error text reaches operators only, never the public.
    #[must_use]
    pub fn check<F>(mut self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync + 'static,
    {
        self.0.push((name, Arc::new(check)));
        self
    }

    /// Runs every check at once, each with a deadline.
    pub async fn report(&self) -> Report {
        let results = join_all(self.0.iter().map(|(name, check)| async move {
            let result = tokio::time::timeout(DEADLINE, check()).await;
            (
                *name,
                result.unwrap_or_else(|_| Err(format!("no answer within {} s", DEADLINE.as_secs()))),
            )
        }))
        .await;
        let status = if results.iter().all(|(_, result)| result.is_ok()) {
            "ready"
        } else {
            "not ready"
        };
        let checks = results
            .into_iter()
            .map(|(name, result)| (name, result.err().unwrap_or_else(|| "ok".to_owned())))
            .collect();
        Report { status, checks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_failing_check_makes_the_process_not_ready() {
        let readiness = Readiness::new()
            .check("database", || Box::pin(async { Ok(()) }))
            .check("keys", || Box::pin(async { Err("no key set".to_owned()) }));
        let report = readiness.report().await;

        assert!(!report.is_ready());
        assert_eq!(report.checks["keys"], "no key set");
        assert_eq!(report.checks["database"], "ok");
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_counts_as_failed() {
        let readiness = Readiness::new().check("database", || Box::pin(std::future::pending()));
        assert_eq!(
            readiness.report().await.checks["database"],
            "no answer within 2 s"
        );
    }
}
