//! One request to the upstream for all that want the same answer at the same moment.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::key::KeyHash;

/// Requests that wait for one answer; others are not held up.
const MOST_WAITING: usize = 1_000;

struct Flight {
    id: u64,
    begun: Instant,
    /// Ends when the leader does.
    end: watch::Receiver<()>,
    /// Held once more by each that waits.
    crowd: Arc<()>,
}

/// Requests under way, by key: no more than there are requests.
#[derive(Default)]
pub(super) struct Flights {
    by_key: Mutex<HashMap<KeyHash, Flight>>,
    next: AtomicU64,
}

/// What a request that finds no answer does.
pub(super) enum Turn {
    /// It goes to the upstream, for others too.
    Lead(Leader),
    /// It waits for the one that went.
    Wait(Waiting),
    /// It goes by itself.
    Alone,
}

/// The right to bring an answer for others, who are woken when it is dropped.
pub(crate) struct Leader {
    flights: Arc<Flights>,
    key: KeyHash,
    id: u64,
    _end: watch::Sender<()>,
}

/// A place among those that wait.
pub(super) struct Waiting {
    end: watch::Receiver<()>,
    until: Instant,
    _place: Arc<()>,
}

impl Flights {
    /// Joins whoever asks for the same already, unless that has taken longer than `patience`.
    pub(super) fn join(self: &Arc<Self>, key: KeyHash, patience: Duration) -> Turn {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(flight) = by_key.get(&key) {
            let until = flight.begun.checked_add(patience).unwrap_or(now);
            if now < until {
                if Arc::strong_count(&flight.crowd) > MOST_WAITING {
                    return Turn::Alone;
                }
                return Turn::Wait(Waiting {
                    end: flight.end.clone(),
                    until,
                    _place: flight.crowd.clone(),
                });
            }
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, end) = watch::channel(());
        let flight = Flight {
            id,
            begun: now,
            end,
            crowd: Arc::default(),
        };
        by_key.insert(key, flight);
        Turn::Lead(Leader {
            flights: self.clone(),
            key,
            id,
            _end: sender,
        })
    }
}

impl Waiting {
    /// Returns when the leader is done, has taken too long, or `deadline` is over.
    pub(super) async fn end(mut self, deadline: Instant) {
        let until = self.until.min(deadline);
        // An error is what is waited for: the sender is gone. So is the time.
        drop(tokio::time::timeout_at(until.into(), self.end.changed()).await);
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let mut by_key = self.flights.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        // Another one may have taken over.
        if by_key.get(&self.key).is_some_and(|flight| flight.id == self.id) {
            by_key.remove(&self.key);
        }
    }
}
