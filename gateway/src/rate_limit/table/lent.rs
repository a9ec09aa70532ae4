//! What this gateway grants of a shared limit while it cannot ask the store: its part, which is told once the store is
//! back.
//!
//! Meanwhile an arrival time grows by a unit of *every* gateway for each that is granted, so that all of them together hold
//! the limit. Beyond what the store said last, an N-th of it is this gateway's: that is told, and added to what others
//! tell. It comes back here at an N-th of the pace, as theirs does there; so the sum is what was granted, or more.

use policy::gcra::Limit;
use policy::{Charge, Count};

use super::{Key, Place, SHARDS, Shard, Table};
use crate::metrics::METRICS;

/// How the store knows what is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Counter {
    pub(in super::super) key: Box<str>,
    pub(in super::super) gcra: Limit,
}

/// What is noted of a unit that is counted here for the store.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Lends<'c> {
    pub(super) counter: &'c Counter,
    pub(super) parts: u64,
    /// Whether the store is asked, too.
    pub(super) is_told: bool,
}

impl<'c> Lends<'c> {
    /// `None` for what has no counter. Failures have none: others may have given them back.
    pub(super) fn new(charge: &Charge, counters: &'c [(&str, Counter)], is_told: bool) -> Option<Self> {
        if charge.limit.count == Count::Failures {
            return None;
        }
        let of_limit = |(name, _): &&(&str, Counter)| *name == charge.limit.name;
        let (_, counter) = counters.iter().find(of_limit)?;
        Some(Self {
            counter,
            parts: 1,
            is_told,
        })
    }

    /// As one of so many gateways.
    pub(super) const fn as_one_of(self, parts: u64) -> Self {
        Self { parts, ..self }
    }
}

/// What is lent of one counter. Times are arrival times on the scale of the table.
#[derive(Debug)]
pub(super) struct Lent {
    counter: Counter,
    parts: u64,
    /// What the store said last, and what it has been told since.
    said_ns: u64,
    /// As far as the table counts what the store knows.
    told_ns: u64,
}

/// What the store is to be told.
#[derive(Debug)]
pub(in super::super) struct Debt {
    place: Place,
    pub(in super::super) counter: Counter,
    /// The backlog that the store knew of.
    pub(in super::super) known_ns: u64,
    /// What was granted beyond.
    pub(in super::super) lent_ns: u64,
}

impl Lent {
    /// The store has said this.
    pub(super) fn hear(&mut self, told_ns: u64) {
        self.said_ns = self.said_ns.max(told_ns);
    }

    /// What it is to be told of an arrival time.
    fn owed_ns(&self, tat_ns: u64, now_ns: u64) -> u64 {
        let beyond = tat_ns.saturating_sub(self.told_ns.max(now_ns));
        beyond.div_ceil(self.parts.max(1))
    }
}

impl Shard {
    /// What the store said last of a shared limit.
    pub(super) fn said_ns(&self, key: Key) -> Option<u64> {
        let lent = self.lent.get(&key).map(|lent| lent.said_ns);
        lent.or_else(|| self.arrivals.get(&key).copied())
    }

    /// Counts what is granted.
    pub(super) fn grant(&mut self, place: Place, tat_ns: u64, now_ns: u64, lends: Option<Lends<'_>>) {
        let before = self.arrivals.insert(place.key, tat_ns);
        if before.is_none() {
            METRICS.limit_keys.inc();
        }
        // A bucket of many keys is none that the store knows.
        let Some(lends) = lends.filter(|_| !place.is_overflow()) else {
            return;
        };
        let before_ns = before.unwrap_or(0);
        let lent = self.lent.entry(place.key).or_insert_with(|| Lent {
            counter: lends.counter.clone(),
            parts: lends.parts,
            said_ns: before_ns,
            told_ns: before_ns,
        });
        // With fewer parts each is larger: never looser.
        lent.parts = lent.parts.min(lends.parts);
        if lends.is_told {
            let taken_ns = tat_ns.saturating_sub(before_ns.max(now_ns));
            lent.told_ns = lent.told_ns.max(now_ns).saturating_add(taken_ns);
        }
    }
}

impl Table {
    /// What the store is to be told now. It counts as told, unless it is taken back.
    pub(in super::super) fn debts(&self, now_ns: u64) -> Vec<Debt> {
        let mut debts = Vec::new();
        for index in 0..SHARDS {
            let mut shard = self.lock(index);
            let Shard { arrivals, lent, .. } = &mut *shard;
            for (key, lent) in lent {
                let tat_ns = arrivals.get(key).copied().unwrap_or(0);
                let lent_ns = lent.owed_ns(tat_ns, now_ns);
                if lent_ns == 0 {
                    continue;
                }
                debts.push(Debt {
                    place: Place {
                        shard: index,
                        key: *key,
                    },
                    counter: lent.counter.clone(),
                    known_ns: lent.said_ns.saturating_sub(now_ns),
                    lent_ns,
                });
                lent.said_ns = lent.said_ns.max(now_ns).saturating_add(lent_ns);
                lent.told_ns = tat_ns;
            }
        }
        debts
    }

    /// These could not be told.
    pub(in super::super) fn untell(&self, debts: &[Debt]) {
        for debt in debts {
            let mut shard = self.lock(debt.place.shard);
            if let Some(lent) = shard.lent.get_mut(&debt.place.key) {
                let counted_ns = debt.lent_ns.saturating_mul(lent.parts);
                lent.told_ns = lent.told_ns.saturating_sub(counted_ns);
                lent.said_ns = lent.said_ns.saturating_sub(debt.lent_ns);
            }
        }
    }

    /// What was told is counted in the store alone from now on.
    pub(in super::super) fn settle(&self, now_ns: u64) {
        for index in 0..SHARDS {
            let mut shard = self.lock(index);
            let Shard { arrivals, lent, .. } = &mut *shard;
            lent.retain(|key, lent| {
                let Some(tat_ns) = arrivals.get_mut(key) else {
                    return false;
                };
                let is_owed = lent.owed_ns(*tat_ns, now_ns) > 0;
                if !is_owed {
                    *tat_ns = lent.said_ns;
                }
                is_owed
            });
        }
    }
}
