//! Counting requests: a bounded table of theoretical arrival times (GCRA), shared by all worker threads.
//!
//! **Invariant:** a request consumes from all of its limits or from none. An active key is never evicted, which would
//! give it a fresh allowance; when the table is full, the new keys of a limit share one bucket.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use policy::gcra::{Denied, Granted, Limit};
use policy::{Charge, LimitState, LimitStates};

use crate::metrics::METRICS;

const SHARDS: usize = 64;
/// The last shard holds one bucket per limit, for the keys that found no room. It is never full: limits are few.
const OVERFLOW: usize = SHARDS;
/// A full shard is swept at most this often: a flood of new keys must not pay for a sweep each.
const SWEEP_INTERVAL_NS: u64 = 1_000_000_000;

/// A key as the table holds it: 128 bits under two random keys of this process, so that no personal datum is kept and
/// nobody can choose colliding keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key(u64, u64);

/// A [`Key`] is uniformly random already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, value: u64) {
        self.0 ^= value;
    }
}

type Table = HashMap<Key, u64, BuildHasherDefault<AsIs>>;

#[derive(Default)]
struct Shard {
    /// Theoretical arrival time by key, in nanoseconds on the limiter's scale.
    arrivals: Table,
    swept_at_ns: u64,
}

/// Where one charge of a batch is counted.
#[derive(Clone, Copy)]
struct Place {
    shard: usize,
    key: Key,
}

impl Place {
    const fn is_overflow(self) -> bool {
        self.shard == OVERFLOW
    }
}

/// One unit of one limit, without the rest of a [`Charge`].
#[derive(Clone, Copy)]
struct Unit<'c> {
    name: &'c str,
    key: &'c [u8],
    gcra: Limit,
}

impl<'c> From<&'c Charge> for Unit<'c> {
    fn from(charge: &'c Charge) -> Self {
        Self {
            name: &charge.limit.name,
            key: &charge.key,
            gcra: charge.limit.gcra,
        }
    }
}

type Locked<'l> = Vec<(usize, MutexGuard<'l, Shard>)>;

/// The table. All times are nanoseconds since it was made.
pub(crate) struct RateLimiter {
    shards: Vec<Mutex<Shard>>,
    keys_per_shard: usize,
    hashers: (RandomState, RandomState),
    started: Instant,
}

impl RateLimiter {
    /// A table of at most about `max_keys` keys.
    pub(crate) fn new(max_keys: usize) -> Self {
        Self {
            shards: (0..=OVERFLOW).map(|_| Mutex::default()).collect(),
            keys_per_shard: max_keys.div_ceil(SHARDS).max(1),
            hashers: (RandomState::new(), RandomState::new()),
            started: Instant::now(),
        }
    }

    /// Consumes one unit of every charge now, or of none. One state for each charge, in the same order.
    pub(crate) fn charge(&self, charges: &[Charge]) -> LimitStates {
        let units: Vec<Unit<'_>> = charges.iter().map(Unit::from).collect();
        let decisions = self.charge_at(&units, self.now_ns());
        charges
            .iter()
            .zip(decisions)
            .map(|(charge, (place, decision))| state(charge, place, decision))
            .collect()
    }

    /// Gives back what was reserved, `held` ago, for failures that did not happen. What has come back since by itself
    /// is not given twice.
    pub(crate) fn refund(&self, charges: &[Charge], held: Duration) {
        let held_ns = u64::try_from(held.as_nanos()).unwrap_or(u64::MAX);
        for unit in charges.iter().map(Unit::from) {
            self.refund_unit(unit, held_ns);
        }
    }

    fn refund_unit(&self, unit: Unit<'_>, held_ns: u64) {
        if !self.refund_at(self.place(unit.key), unit.gcra, held_ns) {
            self.refund_at(self.overflow_place(unit.name), unit.gcra, held_ns);
        }
    }

    fn refund_at(&self, place: Place, limit: Limit, held_ns: u64) -> bool {
        match self.lock(place.shard).arrivals.get_mut(&place.key) {
            Some(tat_ns) => {
                *tat_ns = limit.refund_after(*tat_ns, 1, held_ns);
                true
            }
            None => false,
        }
    }

    fn charge_at(&self, units: &[Unit<'_>], now_ns: u64) -> Vec<(Place, Result<Granted, Denied>)> {
        // Shards are locked in ascending order, so two batches cannot wait for each other.
        let mut wanted: Vec<usize> = units.iter().map(|unit| self.place(unit.key).shard).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut locked: Locked<'_> = wanted
            .into_iter()
            .map(|index| (index, self.lock(index)))
            .collect();

        let decisions: Vec<_> = units
            .iter()
            .map(|unit| {
                let (place, tat_ns) = self.find(&mut locked, *unit, now_ns);
                (place, unit.gcra.decide(tat_ns, now_ns, 1))
            })
            .collect();
        if decisions.iter().all(|(_, decision)| decision.is_ok()) {
            for (place, decision) in &decisions {
                if let (Ok(granted), Some(shard)) = (decision, shard_of(&mut locked, place.shard))
                    && shard.arrivals.insert(place.key, granted.tat_ns).is_none()
                {
                    METRICS.limit_keys.inc();
                }
            }
        }
        decisions
    }

    /// Where this charge is counted, and its arrival time: its own bucket if it has one or there is room for one.
    fn find<'l>(&'l self, locked: &mut Locked<'l>, unit: Unit<'_>, now_ns: u64) -> (Place, u64) {
        let own = self.place(unit.key);
        if let Some(shard) = shard_of(locked, own.shard) {
            if let Some(tat_ns) = shard.arrivals.get(&own.key) {
                return (own, *tat_ns);
            }
            if self.has_room(shard, now_ns) {
                return (own, 0);
            }
        }
        let shared = self.overflow_place(unit.name);
        if shard_of(locked, OVERFLOW).is_none() {
            // The highest index of all: the order of locking holds.
            locked.push((OVERFLOW, self.lock(OVERFLOW)));
        }
        let tat_ns = shard_of(locked, OVERFLOW).and_then(|shard| shard.arrivals.get(&shared.key).copied());
        (shared, tat_ns.unwrap_or(0))
    }

    fn has_room(&self, shard: &mut Shard, now_ns: u64) -> bool {
        if shard.arrivals.len() < self.keys_per_shard {
            return true;
        }
        if now_ns.saturating_sub(shard.swept_at_ns) >= SWEEP_INTERVAL_NS {
            shard.swept_at_ns = now_ns;
            let before = shard.arrivals.len();
            // An arrival time in the past is the same as none, whatever the limit (`gcra::Limit::is_idle`).
            shard.arrivals.retain(|_, tat_ns| *tat_ns > now_ns);
            let swept = before.saturating_sub(shard.arrivals.len());
            METRICS.limit_keys.sub(i64::try_from(swept).unwrap_or(0));
        }
        shard.arrivals.len() < self.keys_per_shard
    }

    fn place(&self, key: &[u8]) -> Place {
        let key = self.hash(key);
        // Other bits than those that the table looks at.
        Place {
            shard: usize::try_from(key.1 >> 48).unwrap_or(0) % SHARDS,
            key,
        }
    }

    fn overflow_place(&self, limit_name: &str) -> Place {
        Place {
            shard: OVERFLOW,
            key: self.hash(limit_name.as_bytes()),
        }
    }

    fn hash(&self, key: &[u8]) -> Key {
        Key(self.hashers.0.hash_one(key), self.hashers.1.hash_one(key))
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "a place is below SHARDS or OVERFLOW itself, and there are SHARDS + 1 shards"
    )]
    fn lock(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

fn shard_of<'s>(locked: &'s mut Locked<'_>, index: usize) -> Option<&'s mut Shard> {
    locked
        .iter_mut()
        .find(|(at, _)| *at == index)
        .map(|(_, guard)| &mut **guard)
}

fn state(charge: &Charge, place: Place, decision: Result<Granted, Denied>) -> LimitState {
    let outcome = match (&decision, place.is_overflow()) {
        (Ok(_), false) => "granted",
        (Ok(_), true) => "granted_overflow",
        (Err(_), false) => "denied",
        (Err(_), true) => "denied_overflow",
    };
    METRICS
        .limit_decisions
        .with_label_values(&[charge.limit.name.as_str(), outcome])
        .inc();
    LimitState::after(charge.limit.clone(), decision)
}

#[cfg(test)]
mod tests;
