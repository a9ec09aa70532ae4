//! Requests at their moments, and how long each took.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::connection::{Connection, Target};

/// What to send, and when.
pub(crate) struct Plan {
    pub(crate) request: String,
    pub(crate) rate: u32,
    pub(crate) seconds: u32,
    pub(crate) connections: u32,
}

/// Requests that a connection makes before it is measured.
const WARM_UP: u32 = 50;

/// Latencies in microseconds, sorted.
pub(crate) struct Latencies(Vec<u64>);

impl Latencies {
    /// The latency that so many thousandths of all requests did not exceed, in microseconds.
    pub(crate) fn percentile(&self, thousandths: u32) -> Option<u64> {
        let rank = (self.0.len() * usize::try_from(thousandths).ok()?).div_ceil(1_000);
        self.0.get(rank.saturating_sub(1)).copied()
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |thousandths| self.percentile(thousandths).unwrap_or_default();
        let (middle, high, higher) = (at(500), at(990), at(999));
        write!(
            f,
            "{} requests, p50 {middle} µs, p99 {high} µs, p99.9 {higher} µs",
            self.0.len()
        )
    }
}

/// Runs one turn. A request that fails ends it: figures of a run that lost requests say nothing.
pub(crate) fn run(target: &Target, plan: &Plan) -> anyhow::Result<Latencies> {
    let mut connections = Vec::new();
    for _ in 0..plan.connections {
        let mut connection = target.connect()?;
        for _ in 0..WARM_UP {
            connection.exchange(&plan.request)?;
        }
        connections.push(connection);
    }
    let start = Instant::now() + Duration::from_millis(100);
    let mut all = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..)
            .zip(connections)
            .map(|(index, connection)| scope.spawn(move || work(connection, plan, start, index)))
            .collect();
        for worker in workers {
            let latencies = worker.join().ok().context("a worker panicked")??;
            all.extend(latencies);
        }
        anyhow::Ok(())
    })?;
    all.sort_unstable();
    Ok(Latencies(all))
}

fn work(mut connection: Connection, plan: &Plan, start: Instant, index: u32) -> anyhow::Result<Vec<u64>> {
    let mut latencies = Vec::new();
    let mut number = index;
    while number < plan.rate * plan.seconds {
        let moment = start + Duration::from_secs(1) * number / plan.rate;
        #[expect(
            clippy::disallowed_methods,
            reason = "the load has a rate: each request waits for its moment"
        )]
        std::thread::sleep(moment.saturating_duration_since(Instant::now()));
        connection.exchange(&plan.request)?;
        latencies.push(u64::try_from(moment.elapsed().as_micros())?);
        number += plan.connections;
    }
    Ok(latencies)
}
