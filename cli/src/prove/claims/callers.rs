//! Clients that call a protected route without pause while something is done to the system.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Context as _;
use tokio::task::JoinSet;
use trial::Customer;

/// Clients at once.
const CALLERS: usize = 4;

/// Tasks that call with one token until they are told to stop.
pub(super) struct Callers {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    tasks: JoinSet<anyhow::Result<BTreeMap<u16, u64>>>,
}

impl Callers {
    pub(super) fn start(customer: &Customer) -> Self {
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..CALLERS {
            let (customer, stop, calls) = (customer.clone(), stop.clone(), calls.clone());
            tasks.spawn(async move {
                let mut answers = BTreeMap::new();
                while !stop.load(Ordering::Relaxed) {
                    let answer = customer.get("/api/v1/me").await?;
                    *answers.entry(answer.status.as_u16()).or_default() += 1;
                    calls.fetch_add(1, Ordering::Relaxed);
                }
                Ok(answers)
            });
        }
        Self { stop, calls, tasks }
    }

    /// How many calls were answered so far.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Stops them; how often each status was answered.
    pub(super) async fn stop(mut self) -> anyhow::Result<BTreeMap<u16, u64>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut answers = BTreeMap::new();
        while let Some(ended) = self.tasks.join_next().await {
            for (status, count) in ended.context("a caller panicked")?? {
                *answers.entry(status).or_default() += count;
            }
        }
        Ok(answers)
    }
}
