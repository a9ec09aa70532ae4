//! What the control plane is still to be told: bounded, in order, and told again after every new connection.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fleet::{Acknowledgement, Stream};
use tokio::sync::Notify;

use crate::metrics::METRICS;

/// Acknowledgements that wait: four streams, a few stages of the statements of a bad minute each.
const MAX_WAITING: usize = 64;

/// Acknowledgements on their way.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    kept: Mutex<Kept>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    waiting: VecDeque<Acknowledgement>,
    /// The last one of each stream, in force or in shadow.
    last: BTreeMap<(Stream, bool), Acknowledgement>,
}

impl Outbox {
    /// Something is to be told. The oldest one that waits makes room when there is none: what comes behind it says more.
    pub(super) fn put(&self, acknowledgement: Acknowledgement) {
        let (stream, stage) = (acknowledgement.stream.as_str(), acknowledgement.stage.as_str());
        METRICS
            .fleet_acknowledgements
            .with_label_values(&[stream, stage])
            .inc();
        let mut kept = self.lock();
        let of = (acknowledgement.stream, acknowledgement.shadow);
        kept.last.insert(of, acknowledgement.clone());
        kept.push(acknowledgement);
        drop(kept);
        self.news.notify_one();
    }

    /// Tells the last one of each stream again: the control plane may have lost it. Saying the same twice changes nothing.
    pub(super) fn put_last_again(&self) {
        let mut kept = self.lock();
        let last: Vec<_> = kept.last.values().cloned().collect();
        for acknowledgement in last {
            if !kept.waiting.contains(&acknowledgement) {
                kept.push(acknowledgement);
            }
        }
        drop(kept);
        self.news.notify_one();
    }

    /// The oldest one that waits.
    pub(super) fn first(&self) -> Option<Acknowledgement> {
        self.lock().waiting.front().cloned()
    }

    /// This one was told.
    pub(super) fn remove(&self, told: &Acknowledgement) {
        let mut kept = self.lock();
        if kept.waiting.front() == Some(told) {
            kept.waiting.pop_front();
        }
    }

    /// Completes when something was put.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, acknowledgement: Acknowledgement) {
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(acknowledgement);
    }
}

#[cfg(test)]
mod tests {
    use fleet::{Digest, Position, Stage};

    use super::*;

    fn of(seq: u64, stage: Stage) -> Acknowledgement {
        Acknowledgement {
            stream: Stream::Policy,
            position: Position { epoch: 1, seq },
            digest: Digest::of(b"envelope"),
            shadow: false,
            stage,
            objection: None,
        }
    }

    fn waiting(outbox: &Outbox) -> Vec<Acknowledgement> {
        std::iter::from_fn(|| {
            let first = outbox.first()?;
            outbox.remove(&first);
            Some(first)
        })
        .collect()
    }

    #[test]
    fn they_are_told_in_order_and_the_last_one_again() {
        let outbox = Outbox::default();
        let both = [of(1, Stage::Received), of(1, Stage::Active)];
        both.iter().cloned().for_each(|one| outbox.put(one));
        outbox.put_last_again();
        assert_eq!(waiting(&outbox), both);
        outbox.put_last_again();
        assert_eq!(waiting(&outbox), [of(1, Stage::Active)]);
    }

    #[test]
    fn what_waits_is_bounded_and_the_newest_stays() {
        let outbox = Outbox::default();
        for seq in 1..=200 {
            outbox.put(of(seq, Stage::Active));
        }
        let waiting = waiting(&outbox);
        assert_eq!(waiting.len(), MAX_WAITING);
        assert_eq!(waiting.last(), Some(&of(200, Stage::Active)));
    }
}
