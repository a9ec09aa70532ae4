//! The circuit breaker of one upstream: closed, open for a while, then one request that decides.
//!
//! It opens after so many failures in a row, and after so many within a few seconds when no address of the service
//! answered more than it failed ([`super::recent`]).

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use prometheus::IntGauge;

use super::{millis, now_ms};
use crate::metrics::METRICS;

/// A request that comes while another one decides is told to come again after this long.
const UNDECIDED: Duration = Duration::from_secs(1);

/// Counts failures in a row. Without a lock: requests of all workers pass here.
pub(super) struct Breaker {
    name: String,
    failures: AtomicU32,
    /// 0 while it is closed, else when the next request may decide.
    open_until_ms: AtomicU64,
    is_probing: AtomicBool,
    gauge: IntGauge,
}

/// What a breaker says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Go on.
    Closed,
    /// Go on, and decide for everyone.
    Probe,
    /// Come again after this long.
    Open(Duration),
}

/// What the metric shows.
const CLOSED: i64 = 0;
const OPEN: i64 = 1;
const PROBING: i64 = 2;

impl Breaker {
    pub(super) fn new(upstream: &str) -> Self {
        let gauge = METRICS.upstream_breaker.with_label_values(&[upstream]);
        gauge.set(CLOSED);
        Self {
            name: upstream.to_owned(),
            failures: AtomicU32::new(0),
            open_until_ms: AtomicU64::new(0),
            is_probing: AtomicBool::new(false),
            gauge,
        }
    }

    /// Whether a request may go on.
    pub(super) fn admit(&self) -> Admission {
        let until = self.open_until_ms.load(Ordering::Acquire);
        if until == 0 {
            return Admission::Closed;
        }
        let left = until.saturating_sub(now_ms());
        if left > 0 {
            return Admission::Open(Duration::from_millis(left));
        }
        if self.is_probing.swap(true, Ordering::AcqRel) {
            return Admission::Open(UNDECIDED);
        }
        // Another one may have decided between the two reads.
        if self.open_until_ms.load(Ordering::Acquire) != until {
            self.is_probing.store(false, Ordering::Release);
            return self.admit();
        }
        self.gauge.set(PROBING);
        Admission::Probe
    }

    /// The request that was to decide did not: the next one does.
    pub(super) fn give_up_probe(&self) {
        self.gauge.set(OPEN);
        self.is_probing.store(false, Ordering::Release);
    }

    /// The request that was to decide was answered.
    pub(super) fn close(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.open_until_ms.store(0, Ordering::Release);
        self.is_probing.store(false, Ordering::Release);
        self.gauge.set(CLOSED);
        tracing::info!(upstream = self.name, "the service answers again");
    }

    /// A request was answered. One that began before the breaker opened does not close it.
    pub(super) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A request failed. `fails_mostly` says whether so many of late did, too, and hardly any did not.
    pub(super) fn failed(
        &self,
        is_probe: bool,
        most: u32,
        time: Duration,
        fails_mostly: impl FnOnce() -> bool,
    ) {
        let in_a_row = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let until = now_ms().saturating_add(millis(time));
        if is_probe {
            self.open_until_ms.store(until, Ordering::Release);
            self.gauge.set(OPEN);
            self.is_probing.store(false, Ordering::Release);
            return;
        }
        let reason = match in_a_row >= most {
            true => "in_a_row",
            false if fails_mostly() => "share",
            false => return,
        };
        let opens = self
            .open_until_ms
            .compare_exchange(0, until, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        if opens {
            self.gauge.set(OPEN);
            METRICS
                .upstream_breaker_openings
                .with_label_values(&[self.name.as_str(), reason])
                .inc();
            tracing::error!(
                upstream = self.name,
                reason,
                in_a_row,
                open_ms = millis(time),
                "the service fails its requests: it is left alone for a while"
            );
        }
    }
}
