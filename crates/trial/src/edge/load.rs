//! Requests at their moments (an open loop), and what became of each.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::client::{Connection, Door};

/// A load that runs until it is told to stop.
#[derive(Debug)]
pub struct Load {
    stop: CancellationToken,
    started: Instant,
    connections: JoinSet<Tally>,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests that were due.
    pub sent: usize,
    /// Answers with 200, whole.
    pub answered: usize,
    /// Requests without one, by reason.
    pub failed: BTreeMap<String, usize>,
    /// Connections that were opened again, after an answer with `Connection: close`.
    pub reopened: usize,
    /// Connections that a gateway which had stopped refused, and another one took.
    pub moved: usize,
    /// How long it ran.
    pub lasted: Duration,
    /// From the moment a request was due until its answer was whole, in microseconds.
    latencies: Vec<u32>,
}

impl Load {
    /// So many requests a second for this path, on so many kept connections.
    #[must_use]
    pub fn start(door: &Door, path: &str, rate: u32, connections: u32) -> Self {
        Self::begin(door, path, rate, connections, true)
    }

    /// The same, with a new connection for each request; so many clients take turns.
    #[must_use]
    pub fn start_anew(door: &Door, path: &str, rate: u32, clients: u32) -> Self {
        Self::begin(door, path, rate, clients, false)
    }

    fn begin(door: &Door, path: &str, rate: u32, connections: u32, keeps: bool) -> Self {
        let stop = CancellationToken::new();
        let period = Duration::from_secs(1) * connections.max(1) / rate.max(1);
        let path: Arc<str> = path.into();
        let mut tasks = JoinSet::new();
        let started = Instant::now();
        for index in 0..connections.max(1) {
            let first = started + period * index / connections.max(1);
            let client = Client {
                door: door.clone(),
                path: path.clone(),
                turn: usize::try_from(index).unwrap_or_default(),
                keeps,
                open: None,
                tally: Tally::default(),
            };
            tasks.spawn(client.run(first, period, stop.clone()));
        }
        Self {
            stop,
            started,
            connections: tasks,
        }
    }

    /// Ends the load: requests under way are still answered.
    pub async fn stop(mut self) -> Tally {
        let lasted = self.started.elapsed();
        self.stop.cancel();
        let mut all = Tally::default();
        while let Some(Ok(tally)) = self.connections.join_next().await {
            all.add(tally);
        }
        all.lasted = lasted;
        all.latencies.sort_unstable();
        all
    }
}

struct Client {
    door: Door,
    path: Arc<str>,
    turn: usize,
    /// Whether a connection is used again.
    keeps: bool,
    open: Option<Connection>,
    tally: Tally,
}

impl Client {
    async fn run(mut self, first: Instant, period: Duration, stop: CancellationToken) -> Tally {
        let mut due = interval_at(first, period);
        // A stall is felt by every request behind it.
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            let moment = tokio::select! {
                biased;
                () = stop.cancelled() => return self.tally,
                moment = due.tick() => moment,
            };
            self.tally.sent += 1;
            match self.ask().await {
                Ok(()) => {
                    self.tally.answered += 1;
                    let took = moment.elapsed().as_micros();
                    self.tally.latencies.push(u32::try_from(took).unwrap_or(u32::MAX));
                }
                Err(error) => {
                    self.open = None;
                    *self.tally.failed.entry(format!("{error:#}")).or_default() += 1;
                }
            }
        }
    }

    async fn ask(&mut self) -> anyhow::Result<()> {
        let mut connection = match self.open.take() {
            Some(connection) => connection,
            None => {
                self.turn += 1;
                let connection = self.door.connect(self.turn).await?;
                self.tally.moved += connection.refused;
                connection
            }
        };
        let answer = connection.get(&self.path).await?;
        anyhow::ensure!(answer.status == 200, "status {}", answer.status);
        if answer.closes {
            self.tally.reopened += 1;
        } else if self.keeps {
            self.open = Some(connection);
        }
        Ok(())
    }
}

impl Tally {
    /// Requests that failed.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.failed.values().sum()
    }

    /// Requests a second that were sent.
    #[must_use]
    pub fn rate(&self) -> u128 {
        let sent = u128::try_from(self.sent).unwrap_or_default();
        sent * 1_000 / self.lasted.as_millis().max(1)
    }

    /// The latency that so many thousandths of all answers did not exceed, in microseconds.
    #[must_use]
    pub fn percentile(&self, thousandths: usize) -> u32 {
        let rank = (self.latencies.len() * thousandths).div_ceil(1_000);
        self.latencies
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }

    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.reopened += other.reopened;
        self.moved += other.moved;
        self.latencies.extend(other.latencies);
        for (reason, count) in other.failed {
            *self.failed.entry(reason).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests at {}/s, {} failed, {} connections opened anew, {} moved; p50 {} µs, p99 {} µs, longest {} µs",
            self.sent,
            self.rate(),
            self.failures(),
            self.reopened,
            self.moved,
            self.percentile(500),
            self.percentile(990),
            self.percentile(1_000),
        )?;
        for (reason, count) in &self.failed {
            write!(f, "\n    {count} × {reason}")?;
        }
        Ok(())
    }
}
