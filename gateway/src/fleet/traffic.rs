//! What a gateway has served since its start, as its heartbeats say, and how much of it failed by its own doing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fleet::{LATENCY_BOUNDS_US, Traffic as Told};

/// Fewer failures of its own than this say nothing.
const FEW: u64 = 5;
/// By how much the share of them must rise, per mille.
const RISE: u64 = 10;

/// Counters of one process.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    requests: AtomicU64,
    failures: AtomicU64,
    denied: AtomicU64,
    own_failures: AtomicU64,
    panics: AtomicU64,
    latency: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
}

/// An answered request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) is_denied: bool,
    /// An answer of 500 and above that no service had a part in.
    pub(crate) is_own_failure: bool,
    pub(crate) took: Duration,
}

impl Traffic {
    /// Counts a request.
    pub(crate) fn answered(&self, answered: Answered) {
        let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        add(&self.requests);
        if answered.status >= 500 {
            add(&self.failures);
        }
        if answered.is_denied {
            add(&self.denied);
        }
        if answered.is_own_failure {
            add(&self.own_failures);
        }
        let micros = u64::try_from(answered.took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.latency.get(bucket) {
            add(bucket);
        }
    }

    /// Counts a panic while a connection was served.
    pub(crate) fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters for a heartbeat.
    pub(super) fn told(&self) -> Told {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Told {
            requests: of(&self.requests),
            failures: of(&self.failures),
            denied: of(&self.denied),
            latency: self.latency.iter().map(of).collect(),
        }
    }

    /// The counters that tell how a policy does.
    pub(super) fn sample(&self) -> Sample {
        Sample {
            requests: self.requests.load(Ordering::Relaxed),
            own_failures: self.own_failures.load(Ordering::Relaxed),
            panics: self.panics.load(Ordering::Relaxed),
        }
    }
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sample {
    requests: u64,
    own_failures: u64,
    panics: u64,
}

impl Sample {
    /// What is wrong since the moment `before`, in words; `None` when the gateway does as well as it did up to then.
    pub(super) fn fault_since(self, before: Self) -> Option<String> {
        let since = Self {
            requests: self.requests.saturating_sub(before.requests),
            own_failures: self.own_failures.saturating_sub(before.own_failures),
            panics: self.panics.saturating_sub(before.panics),
        };
        if since.panics > 0 && before.panics == 0 {
            return Some("the gateway panicked".to_owned());
        }
        let has_risen = since.share() > before.share().saturating_add(RISE);
        (since.own_failures >= FEW && has_risen).then(|| {
            format!(
                "{} of {} requests failed in the gateway itself",
                since.own_failures, since.requests
            )
        })
    }

    /// Failures of its own, per mille of requests.
    fn share(self) -> u64 {
        let failures = self.own_failures.saturating_mul(1_000);
        failures.checked_div(self.requests).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(requests: u64, own_failures: u64, panics: u64) -> Sample {
        Sample {
            requests,
            own_failures,
            panics,
        }
    }

    #[test]
    fn a_policy_is_given_up_when_the_gateway_fails_more_than_before() {
        let before = sample(10_000, 200, 0);
        for (after, is_fault) in [
            (sample(10_000, 200, 0), false),
            (sample(10_100, 203, 0), false),
            (sample(10_004, 204, 0), false),
            (sample(10_100, 205, 0), true),
            (sample(11_000, 230, 0), false),
            (sample(11_000, 231, 0), true),
            (sample(10_001, 200, 1), true),
        ] {
            assert_eq!(after.fault_since(before).is_some(), is_fault, "{after:?}");
        }
        let panicking = sample(10_000, 0, 7);
        assert_eq!(sample(10_001, 0, 8).fault_since(panicking), None);
        assert_eq!(sample(0, 0, 0).fault_since(sample(0, 0, 0)), None);
    }

    #[test]
    fn each_request_is_in_one_bucket() {
        let traffic = Traffic::default();
        for (micros, status) in [(0, 200), (100, 200), (101, 503), (5_000_000, 500)] {
            traffic.answered(Answered {
                status,
                is_denied: status == 503,
                is_own_failure: status == 503,
                took: Duration::from_micros(micros),
            });
        }
        let told = traffic.told();
        assert_eq!((told.requests, told.failures, told.denied), (4, 2, 1));
        let mut expected = vec![0; LATENCY_BOUNDS_US.len() + 1];
        (expected[0], expected[1], expected[LATENCY_BOUNDS_US.len()]) = (2, 1, 1);
        assert_eq!(told.latency, expected);
        assert_eq!(traffic.sample(), sample(4, 1, 0));
    }
}
