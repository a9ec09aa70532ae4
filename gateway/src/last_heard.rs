//! When the control plane last answered, for what goes on without it only so long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus::IntGauge;

/// A moment that many threads read and one sets.
#[derive(Debug)]
pub(crate) struct LastHeard {
    started: Instant,
    /// Milliseconds since `started`, plus one; zero is never.
    at_ms: AtomicU64,
}

impl LastHeard {
    /// Nothing was heard yet.
    pub(crate) fn never() -> Self {
        Self {
            started: Instant::now(),
            at_ms: AtomicU64::new(0),
        }
    }

    /// It answers now.
    pub(crate) fn now(&self) {
        self.at_ms
            .store(self.elapsed_ms().saturating_add(1), Ordering::Relaxed);
    }

    /// How long ago it last answered; `None` when it has not since the start.
    pub(crate) fn silence(&self) -> Option<Duration> {
        let heard = self.at_ms.load(Ordering::Relaxed).checked_sub(1)?;
        Some(
            self.started
                .elapsed()
                .saturating_sub(Duration::from_millis(heard)),
        )
    }

    /// Sets a metric to the seconds of silence; -1 is never.
    pub(crate) fn report(&self, metric: &IntGauge) {
        let seconds = self
            .silence()
            .map_or(-1, |silence| i64::try_from(silence.as_secs()).unwrap_or(i64::MAX));
        metric.set(seconds);
    }

    /// Milliseconds since the start.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
