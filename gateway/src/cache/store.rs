//! The kept answers themselves: a table with a bound on its bytes, from which the least asked for are pushed out.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};

use super::changes::Mark;
use super::key::KeyHash;
use crate::metrics::METRICS;

/// What an entry costs beside the bytes of its answer.
const OVERHEAD: usize = 512;
const SHARDS: usize = 16;

/// An answer that is kept.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Without what belongs to one connection or to one client.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// How old it was when it came.
    pub(crate) age: Duration,
    pub(crate) came: Instant,
    pub(crate) fresh_until: Instant,
    /// While its upstream is left alone, it is given until then.
    pub(crate) stale_until: Instant,
    pub(crate) mark: Mark,
}

/// What is known under a key.
#[derive(Debug, Clone)]
pub(super) enum Known {
    Answer(Arc<Answer>),
    /// There are several answers, which differ by these fields of the request.
    Varies(Arc<[HeaderName]>),
    /// The last answer could not be kept: whoever asks need not wait for another.
    NotKept,
}

struct Slot {
    known: Known,
    until: Instant,
    bytes: usize,
    was_asked_for: bool,
}

#[derive(Default)]
struct Shard {
    slots: HashMap<KeyHash, Slot>,
    /// Each key of `slots` once, the next to go first.
    queue: VecDeque<KeyHash>,
    bytes: usize,
}

/// The table.
pub(super) struct Store {
    shards: [Mutex<Shard>; SHARDS],
    /// Of each shard.
    max_bytes: usize,
}

impl Store {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            shards: Default::default(),
            max_bytes: max_bytes.checked_div(SHARDS).unwrap_or(0),
        }
    }

    fn with_shard<T>(&self, key: &KeyHash, look: impl FnOnce(&mut Shard) -> T) -> Option<T> {
        let index = usize::from(key.first_byte()).checked_rem(SHARDS)?;
        let shard = self.shards.get(index)?;
        // A shard is whole between any two statements of its users.
        Some(look(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// What is known under a key, and of use still.
    pub(super) fn get(&self, key: &KeyHash, now: Instant) -> Option<Known> {
        self.with_shard(key, |shard| {
            let slot = shard.slots.get_mut(key).filter(|slot| now < slot.until)?;
            slot.was_asked_for = true;
            Some(slot.known.clone())
        })?
    }

    /// Keeps it until then; returns whether there was room.
    pub(super) fn put(&self, key: KeyHash, known: Known, until: Instant) -> bool {
        let bytes = size(&known);
        let kept = self.with_shard(&key, |shard| shard.put(key, known, until, bytes, self.max_bytes));
        kept.unwrap_or(false)
    }

    /// Forgets what is of no use any more, also where nobody asks for it.
    pub(super) fn sweep(&self, now: Instant) {
        self.retain(|slot| now < slot.until);
    }

    pub(super) fn clear(&self) {
        self.retain(|_| false);
    }

    fn retain(&self, keep: impl Fn(&Slot) -> bool) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let Shard { slots, queue, bytes } = &mut *shard;
            slots.retain(|_, slot| {
                let stays = keep(slot);
                if !stays {
                    release(bytes, slot.bytes);
                }
                stays
            });
            queue.retain(|key| slots.contains_key(key));
        }
    }
}

impl Shard {
    fn put(&mut self, key: KeyHash, known: Known, until: Instant, bytes: usize, most: usize) -> bool {
        if bytes > most {
            return false;
        }
        let slot = Slot {
            known,
            until,
            bytes,
            was_asked_for: false,
        };
        match self.slots.insert(key, slot) {
            Some(replaced) => release(&mut self.bytes, replaced.bytes),
            None => self.queue.push_back(key),
        }
        self.bytes = self.bytes.saturating_add(bytes);
        METRICS.cache_bytes.add(i64::try_from(bytes).unwrap_or(i64::MAX));
        while self.bytes > most {
            if !self.push_out(&key) {
                break;
            }
        }
        true
    }

    /// Second chance: what was asked for since it was last looked at here goes to the end of the queue.
    fn push_out(&mut self, newest: &KeyHash) -> bool {
        let Some(key) = self.queue.pop_front() else {
            return false;
        };
        let Some(slot) = self.slots.get_mut(&key) else {
            return true;
        };
        if std::mem::take(&mut slot.was_asked_for) || key == *newest {
            self.queue.push_back(key);
            return true;
        }
        if let Some(slot) = self.slots.remove(&key) {
            release(&mut self.bytes, slot.bytes);
            METRICS.cache_evictions.inc();
        }
        true
    }
}

fn release(total: &mut usize, bytes: usize) {
    *total = total.saturating_sub(bytes);
    METRICS.cache_bytes.sub(i64::try_from(bytes).unwrap_or(i64::MAX));
}

fn size(known: &Known) -> usize {
    let of_answer = match known {
        Known::Answer(answer) => answer
            .headers
            .iter()
            .fold(answer.body.len(), |total, (name, value)| {
                total
                    .saturating_add(name.as_str().len())
                    .saturating_add(value.len())
                    .saturating_add(64)
            }),
        Known::Varies(names) => names.len().saturating_mul(64),
        Known::NotKept => 0,
    };
    of_answer.saturating_add(OVERHEAD)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::key::KeyParts;

    fn key(number: u8) -> KeyHash {
        let mut key = KeyParts::default();
        key.add(&[number]);
        key.hash()
    }

    impl Store {
        fn bytes(&self) -> usize {
            let shards = self.shards.iter().map(|shard| shard.lock().unwrap());
            shards
                .map(|shard| {
                    let of_slots: usize = shard.slots.values().map(|slot| slot.bytes).sum();
                    assert_eq!(shard.bytes, of_slots);
                    assert_eq!(shard.queue.len(), shard.slots.len());
                    assert!(shard.bytes <= self.max_bytes);
                    of_slots
                })
                .sum()
        }
    }

    #[test]
    fn what_is_asked_for_stays_and_what_is_not_makes_room() {
        let store = Store::new(SHARDS * 3 * OVERHEAD);
        let now = Instant::now();
        let later = now + Duration::from_hours(1);
        let same_shard: Vec<u8> = (0..=255)
            .filter(|number| usize::from(key(*number).first_byte()) % SHARDS == 0)
            .collect();
        let (favourite, others) = same_shard.split_first().unwrap();
        store.put(key(*favourite), Known::NotKept, later);
        for other in others {
            store.put(key(*other), Known::NotKept, later);
            assert!(store.get(&key(*favourite), now).is_some());
        }
        assert!(store.get(&key(others[0]), now).is_none());
        assert!(store.get(&key(*favourite), later).is_none(), "its time is over");
        store.sweep(later);
        assert_eq!(store.bytes(), 0);
    }

    proptest! {
        #[test]
        fn the_bound_holds_whatever_is_kept_replaced_and_forgotten(
            steps in proptest::collection::vec((0_u8..5, any::<u8>(), 0_usize..200, 0_u64..4), 1..300),
        ) {
            let store = Store::new(SHARDS * 4 * OVERHEAD);
            let start = Instant::now();
            for (step, number, names, time) in steps {
                let at = start + Duration::from_secs(time);
                match step {
                    0 => store.sweep(at),
                    1 => drop(store.get(&key(number), at)),
                    _ => {
                        let names = vec![http::header::ACCEPT; names];
                        store.put(key(number), Known::Varies(names.into()), at);
                    }
                }
                prop_assert!(store.bytes() <= SHARDS * 4 * OVERHEAD);
            }
            store.clear();
            prop_assert_eq!(store.bytes(), 0);
        }
    }
}
