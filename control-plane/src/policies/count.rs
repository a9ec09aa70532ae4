//! What a gateway has served since a moment, told from counters that begin anew with every start.

use fleet::{LATENCY_BOUNDS_US, Traffic};
use serde::Deserialize;

/// Counters as a gateway told them, and the start that they belong to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Reading {
    pub(super) boot_id: String,
    pub(super) traffic: Traffic,
}

/// `served` until `before`, and what came until `now`. What a gateway served between its last word and its end is lost;
/// nothing is ever counted twice.
pub(super) fn counted(served: &Traffic, before: Option<&Reading>, now: &Reading) -> Traffic {
    match before {
        Some(before) if before.boot_id == now.boot_id => {
            joined(served, &now.traffic, u64::saturating_add).less(&before.traffic)
        }
        Some(_) => joined(served, &now.traffic, u64::saturating_add),
        // Seen for the first time: what it served before is not of this phase.
        None => served.clone(),
    }
}

/// Both together.
pub(super) fn sum<'t>(all: impl IntoIterator<Item = &'t Traffic>) -> Traffic {
    all.into_iter().fold(Traffic::default(), |sum, one| {
        joined(&sum, one, u64::saturating_add)
    })
}

trait Less {
    fn less(self, before: &Traffic) -> Traffic;
}

impl Less for Traffic {
    fn less(self, before: &Traffic) -> Traffic {
        joined(&self, before, u64::saturating_sub)
    }
}

fn joined(one: &Traffic, other: &Traffic, join: impl Fn(u64, u64) -> u64) -> Traffic {
    let bucket = |traffic: &Traffic, index: usize| traffic.latency.get(index).copied().unwrap_or(0);
    Traffic {
        requests: join(one.requests, other.requests),
        failures: join(one.failures, other.failures),
        denied: join(one.denied, other.denied),
        latency: (0..=LATENCY_BOUNDS_US.len())
            .map(|index| join(bucket(one, index), bucket(other, index)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(requests: u64) -> Traffic {
        let mut latency = vec![0; LATENCY_BOUNDS_US.len() + 1];
        latency[3] = requests;
        Traffic {
            requests,
            failures: requests / 2,
            denied: 1.min(requests),
            latency,
        }
    }

    fn reading(boot_id: &str, requests: u64) -> Reading {
        Reading {
            boot_id: boot_id.to_owned(),
            traffic: traffic(requests),
        }
    }

    #[test]
    fn counters_go_on_over_restarts() {
        let none = sum([]);
        let first = reading("a", 100);
        assert_eq!(
            counted(&none, None, &first),
            none,
            "what came before is not counted"
        );
        let second = reading("a", 150);
        let served = counted(&none, Some(&first), &second);
        assert_eq!(
            (served.requests, served.failures, served.latency[3]),
            (50, 25, 50)
        );
        let restarted = counted(&served, Some(&second), &reading("b", 30));
        assert_eq!((restarted.requests, restarted.latency[3]), (80, 80));
        // Told again: nothing is counted twice.
        assert_eq!(
            counted(&restarted, Some(&reading("b", 30)), &reading("b", 30)),
            restarted
        );
    }
}
