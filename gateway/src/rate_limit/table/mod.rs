//! Counting requests: a bounded table of theoretical arrival times (GCRA), shared by all worker threads.
//!
//! **Invariant:** a request consumes from all of its limits or from none. An active key is never evicted, which would
//! give it a fresh allowance; when the table is full, the new keys of a limit share one bucket.
//!
//! Of a shared limit it keeps what the store said last. Arrival times in the store only grow, so what is exhausted here
//! is exhausted there, and a flood need not reach it. Only failures are given back, by any gateway: for them the store
//! is always asked.
//!
//! What it grants of a shared limit while the store is down is lent ([`lent`]), and told once the store is back.

mod lent;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use policy::gcra::{Denied, Granted, Limit};
use policy::{Charge, Count, LimitState, LimitStates, Mode};
use smallvec::SmallVec;

use crate::metrics::METRICS;
use lent::Lent;
pub(super) use lent::{Counter, Debt, Lends};

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

type Arrivals = HashMap<Key, u64, BuildHasherDefault<AsIs>>;

#[derive(Default)]
struct Shard {
    /// Theoretical arrival time by key, in nanoseconds on the limiter's scale.
    arrivals: Arrivals,
    /// What was granted of shared limits without their store; each has an arrival time, too.
    lent: HashMap<Key, Lent, BuildHasherDefault<AsIs>>,
    swept_at_ns: u64,
}

/// Where one charge of a batch is counted.
#[derive(Debug, Clone, Copy)]
struct Place {
    shard: usize,
    key: Key,
}

impl Place {
    const fn is_overflow(self) -> bool {
        self.shard == OVERFLOW
    }
}

/// What is done with a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// It is counted here.
    Count,
    /// It is counted in the store, and refused here when it would be there.
    Shield,
    /// It is counted in the store, which alone knows.
    Defer,
}

/// Units of one limit, without the rest of a [`Charge`].
#[derive(Clone, Copy)]
struct Unit<'c> {
    name: &'c str,
    key: &'c [u8],
    gcra: Limit,
    cost: u64,
    is_enforced: bool,
    duty: Duty,
    /// What is noted beside, when it is counted for the store.
    lends: Option<Lends<'c>>,
}

impl<'c> Unit<'c> {
    /// Counted here, wherever the policy wants it counted, as one of so many counters that share it.
    fn counted_here(charge: &'c Charge, parts: u64) -> Self {
        Self {
            name: &charge.limit.name,
            key: &charge.key,
            gcra: charge.limit.gcra.divided(parts),
            cost: charge.cost,
            is_enforced: charge.limit.mode == Mode::Enforce,
            duty: Duty::Count,
            lends: None,
        }
    }

    /// Counted here for the store, as one of so many gateways that do.
    fn lent(charge: &'c Charge, lends: Option<Lends<'c>>, parts: u64) -> Self {
        Self {
            lends: lends.map(|lends| lends.as_one_of(parts)),
            ..Self::counted_here(charge, parts)
        }
    }

    /// Counted where the policy wants it counted.
    fn of(charge: &'c Charge) -> Self {
        let duty = match (charge.limit.is_shared(), charge.limit.count, charge.limit.mode) {
            (false, _, _) => Duty::Count,
            (true, Count::Requests, Mode::Enforce) => Duty::Shield,
            (true, Count::Failures, _) | (true, _, Mode::Shadow) => Duty::Defer,
        };
        Self {
            duty,
            ..Self::counted_here(charge, 1)
        }
    }
}

/// As many as a request has limits, without an allocation.
type Few<T> = SmallVec<[T; 4]>;

type Locked<'l> = Few<(usize, MutexGuard<'l, Shard>)>;

/// The table. All times are nanoseconds since it was made.
pub(super) struct Table {
    shards: Vec<Mutex<Shard>>,
    keys_per_shard: usize,
    hashers: (RandomState, RandomState),
    started: Instant,
}

impl Table {
    /// A table of at most about `max_keys` keys.
    pub(super) fn new(max_keys: usize) -> Self {
        Self {
            shards: (0..=OVERFLOW).map(|_| Mutex::default()).collect(),
            keys_per_shard: max_keys.div_ceil(SHARDS).max(1),
            hashers: (RandomState::new(), RandomState::new()),
            started: Instant::now(),
        }
    }

    /// Consumes the units of every charge now, or of none; what the store counts is left to it, unless it would refuse.
    /// One state for each charge, in the same order.
    pub(super) fn charge(&self, charges: &[Charge]) -> LimitStates {
        self.charge_units(charges, Unit::of)
    }

    /// The same, with all of them counted here, as one of so many tables that share them: the store is away, or not asked.
    /// What it will have to be told has a counter there, by the name of its limit.
    pub(super) fn charge_here(
        &self,
        charges: &[Charge],
        parts: u64,
        counters: &[(&str, Counter)],
    ) -> LimitStates {
        self.charge_units(charges, |charge| {
            let lends = Lends::new(charge, counters, false);
            Unit::lent(charge, lends, parts)
        })
    }

    /// As [`Self::charge`], but what has a counter is counted here as well as in the store, as one of so many tables.
    pub(super) fn charge_both(
        &self,
        charges: &[Charge],
        parts: u64,
        counters: &[(&str, Counter)],
    ) -> LimitStates {
        self.charge_units(charges, |charge| match Lends::new(charge, counters, true) {
            Some(lends) => Unit::lent(charge, Some(lends), parts),
            None => Unit::of(charge),
        })
    }

    fn charge_units<'c>(&self, charges: &'c [Charge], unit: impl Fn(&'c Charge) -> Unit<'c>) -> LimitStates {
        let units: Few<Unit<'_>> = charges.iter().map(unit).collect();
        let decisions = self.charge_at(&units, self.now_ns());
        let answers = charges.iter().zip(&units).zip(decisions);
        answers
            .map(|((charge, unit), (place, decision))| {
                let state = LimitState::after(charge.limit.clone(), decision);
                // What is granted to be asked elsewhere is no decision yet.
                let is_asked_too = unit.lends.is_some_and(|lends| lends.is_told);
                if (unit.duty == Duty::Count && !is_asked_too) || !state.granted {
                    super::count(&state, if place.is_overflow() { "overflow" } else { "local" });
                }
                state
            })
            .collect()
    }

    /// Consumes one unit of a limit that stands in no policy; whether there was one.
    pub(super) fn charge_one(&self, key: &[u8], gcra: Limit) -> bool {
        let unit = Unit {
            name: "",
            key,
            gcra,
            cost: 1,
            is_enforced: true,
            duty: Duty::Count,
            lends: None,
        };
        let decisions = self.charge_at(&[unit], self.now_ns());
        decisions.iter().all(|(_, decision)| decision.is_ok())
    }

    /// Gives back what was reserved as one of so many tables, `held` ago. What has come back since by itself is not given
    /// twice.
    pub(super) fn refund(&self, charge: &Charge, parts: u64, held: Duration) {
        let held_ns = u64::try_from(held.as_nanos()).unwrap_or(u64::MAX);
        self.refund_unit(Unit::counted_here(charge, parts), held_ns);
    }

    /// Keeps what the store said of a charge that was sent to it at `sent_ns`, if there is room.
    pub(super) fn learn(&self, charge: &Charge, state: &LimitState, sent_ns: u64) {
        let reset_ns = u64::try_from(state.reset.as_nanos()).unwrap_or(u64::MAX);
        // Counted from before the call: never stricter than the store.
        let told_ns = sent_ns.saturating_add(reset_ns);
        let place = self.place(&charge.key);
        let mut shard = self.lock(place.shard);
        if let Some(lent) = shard.lent.get_mut(&place.key) {
            lent.hear(told_ns);
        } else if let Some(tat_ns) = shard.arrivals.get_mut(&place.key) {
            *tat_ns = match charge.limit.count {
                Count::Requests => told_ns.max(*tat_ns),
                Count::Failures => told_ns,
            };
        } else if self.has_room(&mut shard, sent_ns) {
            shard.arrivals.insert(place.key, told_ns);
            METRICS.limit_keys.inc();
        }
    }

    /// The backlog of a shared limit that this gateway knows of, in nanoseconds; zero for failures, which others may have
    /// given back.
    pub(super) fn known_ns(&self, charge: &Charge) -> u64 {
        if charge.limit.count == Count::Failures {
            return 0;
        }
        let (place, now_ns) = (self.place(&charge.key), self.now_ns());
        let said_ns = self.lock(place.shard).said_ns(place.key);
        said_ns.map_or(0, |said_ns| said_ns.saturating_sub(now_ns))
    }

    fn refund_unit(&self, unit: Unit<'_>, held_ns: u64) {
        let units = (unit.gcra, unit.cost);
        if !self.refund_at(self.place(unit.key), units, held_ns) {
            self.refund_at(self.overflow_place(unit.name), units, held_ns);
        }
    }

    fn refund_at(&self, place: Place, (limit, cost): (Limit, u64), held_ns: u64) -> bool {
        match self.lock(place.shard).arrivals.get_mut(&place.key) {
            Some(tat_ns) => {
                *tat_ns = limit.refund_after(*tat_ns, cost, held_ns);
                true
            }
            None => false,
        }
    }

    fn charge_at(&self, units: &[Unit<'_>], now_ns: u64) -> Few<(Place, Result<Granted, Denied>)> {
        let places: Few<Place> = units.iter().map(|unit| self.place(unit.key)).collect();
        // Shards are locked in ascending order, so two batches cannot wait for each other.
        let mut wanted: Few<usize> = places.iter().map(|place| place.shard).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut locked: Locked<'_> = wanted
            .into_iter()
            .map(|index| (index, self.lock(index)))
            .collect();

        let decisions: Few<_> = units
            .iter()
            .zip(places)
            .map(|(unit, own)| {
                let (place, tat_ns) = self.find(&mut locked, *unit, own, now_ns);
                let tat_ns = if unit.duty == Duty::Defer { 0 } else { tat_ns };
                (place, unit.gcra.decide(tat_ns, now_ns, unit.cost))
            })
            .collect();
        let is_refused = |(unit, (_, decision)): (&Unit<'_>, &(Place, Result<Granted, Denied>))| {
            unit.is_enforced && decision.is_err()
        };
        if !units.iter().zip(&decisions).any(is_refused) {
            let counted = units
                .iter()
                .zip(&decisions)
                .filter(|(unit, _)| unit.duty == Duty::Count);
            for (unit, (place, decision)) in counted {
                if let (Ok(granted), Some(shard)) = (decision, shard_of(&mut locked, place.shard)) {
                    shard.grant(*place, granted.tat_ns, now_ns, unit.lends);
                }
            }
        }
        decisions
    }

    /// Where this charge is counted, and its arrival time: its own bucket if it has one or there is room for one.
    fn find<'l>(&'l self, locked: &mut Locked<'l>, unit: Unit<'_>, own: Place, now_ns: u64) -> (Place, u64) {
        if unit.duty != Duty::Count {
            // What the store counts has no part in the bucket of those that found no room.
            let said_ns = shard_of(locked, own.shard).and_then(|shard| shard.said_ns(own.key));
            return (own, said_ns.unwrap_or(0));
        }
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
            let Shard { arrivals, lent, .. } = shard;
            lent.retain(|key, _| arrivals.contains_key(key));
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

    /// The time on the table's own scale.
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

fn shard_of<'s>(locked: &'s mut Locked<'_>, index: usize) -> Option<&'s mut Shard> {
    locked
        .iter_mut()
        .find(|(at, _)| *at == index)
        .map(|(_, guard)| &mut **guard)
}

#[cfg(test)]
mod tests;
