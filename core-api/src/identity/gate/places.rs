//! Who waits for whom in this process: attempts at one name, or from one trusted device, a few at a time.
//!
//! The counters decide how many may be verified at once; this only saves asking them again and again meanwhile. Passwords are
//! hashed a few at a time anyway, so nobody waits longer for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::keys::Key;

/// Attempts at one name at a time.
const AT_ONCE: usize = 4;
/// Attempts at one name that may wait; more are sent away.
const MOST_WAITING: usize = 64;
/// Names without an attempt are forgotten when there are so many more than at the last time.
const SWEEP_EVERY: usize = 1_024;

/// A place of an attempt; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    /// Keeps the name known.
    _of: Arc<OfName>,
}

/// The places of one name.
#[derive(Debug)]
struct OfName {
    at_once: Arc<Semaphore>,
    waiting: Semaphore,
}

/// All places.
#[derive(Debug, Default)]
pub(super) struct Places {
    names: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    known: HashMap<Key, Weak<OfName>>,
    sweep_at: usize,
}

impl Places {
    /// A place at once, when there is one.
    pub(super) fn try_take(&self, name: Key) -> Option<Place> {
        let of = self.of(name);
        let permit = Arc::clone(&of.at_once).try_acquire_owned().ok()?;
        Some(Place {
            _permit: permit,
            _of: of,
        })
    }

    /// A place, as soon as one is free; None when too many wait already.
    pub(super) async fn take(&self, name: Key) -> Option<Place> {
        let of = self.of(name);
        let waiting = of.waiting.try_acquire().ok()?;
        let permit = Arc::clone(&of.at_once).acquire_owned().await.ok()?;
        drop(waiting);
        Some(Place {
            _permit: permit,
            _of: of,
        })
    }

    fn of(&self, name: Key) -> Arc<OfName> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.known.get(&name).and_then(Weak::upgrade) {
            return known;
        }
        if names.known.len() >= names.sweep_at {
            names.known.retain(|_, known| known.strong_count() > 0);
            names.sweep_at = names.known.len().saturating_add(SWEEP_EVERY);
        }
        let fresh = Arc::new(OfName {
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Semaphore::new(MOST_WAITING),
        });
        names.known.insert(name, Arc::downgrade(&fresh));
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::KeyMaker;
    use super::*;

    #[tokio::test]
    async fn a_few_work_more_wait_and_the_rest_is_sent_away() {
        let places = Places::default();
        let name = KeyMaker::derive(b"pepper").name("alice");
        let working: Vec<_> = (0..AT_ONCE).map(|_| places.try_take(name).unwrap()).collect();
        assert!(places.try_take(name).is_none());
        let mut waiting: Vec<_> = (0..MOST_WAITING).map(|_| Box::pin(places.take(name))).collect();
        for one in &mut waiting {
            assert!(futures::poll!(one).is_pending());
        }
        assert!(places.take(name).await.is_none());
        drop(working);
        for one in waiting {
            assert!(one.await.is_some());
        }
    }

    #[test]
    fn names_that_nobody_tries_are_forgotten() {
        let places = Places::default();
        let maker = KeyMaker::derive(b"pepper");
        let held = places.try_take(maker.name("held"));
        for number in 0..3 * SWEEP_EVERY {
            drop(places.try_take(maker.name(&number.to_string())));
        }
        let names = places.names.lock().unwrap();
        assert!(names.known.len() <= 2 * SWEEP_EVERY, "{}", names.known.len());
        assert!(names.known.contains_key(&maker.name("held")) && held.is_some());
    }
}
