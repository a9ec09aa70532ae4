//! The generic cell rate algorithm as a pure step over one number, the theoretical arrival time.
//!
//! All times are nanoseconds on one monotonic scale that the caller chooses; this module reads no clock.
//!
//! **Invariant:** in any interval `dt`, no more than `burst + dt / interval` requests of cost 1 are granted,
//! where `interval = ceil(period / limit)`. A refused request consumes nothing.

use std::time::Duration;

/// A limit of `limit` requests per `period`, of which up to `burst` may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limit {
    interval_ns: u64,
    burst: u64,
    /// How many counters that know nothing of each other share it, from 1.
    parts: u64,
}

/// The request is within the limit. Store `tat_ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// The new theoretical arrival time, to be kept for the key.
    pub tat_ns: u64,
    /// How many further requests of cost 1 would be granted right now.
    pub remaining: u64,
    /// Nanoseconds until the full burst is available again.
    pub reset_ns: u64,
}

/// The request is over the limit. Nothing is to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// How many requests of cost 1 would be granted right now (0 unless the cost was above 1).
    pub remaining: u64,
    /// Nanoseconds until the full burst is available again.
    pub reset_ns: u64,
    /// Nanoseconds until the same request would be granted; `u64::MAX` when its cost is above the burst.
    pub retry_after_ns: u64,
}

impl Limit {
    /// Makes a limit; `None` when the limit, the burst or the period is zero, or the period is above 100 years.
    #[must_use]
    pub fn new(limit: u64, period: Duration, burst: u64) -> Option<Self> {
        const MAX_PERIOD_NS: u64 = 100 * 366 * 86_400 * 1_000_000_000;
        let period_ns = u64::try_from(period.as_nanos())
            .ok()
            .filter(|ns| *ns <= MAX_PERIOD_NS)?;
        if limit == 0 || burst == 0 || period_ns == 0 {
            return None;
        }
        Some(Self {
            interval_ns: period_ns.div_ceil(limit),
            burst,
            parts: 1,
        })
    }

    /// The same limit on a scale of whole microseconds, rounded so that it is never looser: for a store whose clock
    /// and numbers are no finer.
    #[must_use]
    pub const fn in_microseconds(self) -> Self {
        Self {
            interval_ns: self.interval_ns.div_ceil(1_000).saturating_mul(1_000),
            ..self
        }
    }

    /// What one of `parts` counters may grant that know nothing of each other: together they grant no more than the limit,
    /// or one request each where its burst has fewer. 0 parts are one.
    #[must_use]
    pub const fn divided(self, parts: u64) -> Self {
        let parts = if parts == 0 { 1 } else { parts };
        Self { parts, ..self }
    }

    /// Nanoseconds that one request of cost 1 uses up of the whole limit.
    #[must_use]
    pub const fn interval_ns(&self) -> u64 {
        self.interval_ns
    }

    /// How many requests of cost 1 a fresh key may make at once, of the whole limit.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// Decides one request of `cost` at `now_ns` for a key whose theoretical arrival time is `tat_ns` (0 for a
    /// key never seen).
    ///
    /// # Errors
    /// [`Denied`] when granting it would exceed the limit; the caller keeps the old `tat_ns`.
    pub fn decide(&self, tat_ns: u64, now_ns: u64, cost: u64) -> Result<Granted, Denied> {
        let backlog = u128::from(tat_ns.saturating_sub(now_ns));
        let used = u128::from(self.used_ns(cost));
        let capacity = self.capacity_ns(cost);
        let wanted = backlog.saturating_add(used);
        let tat_after = wanted.saturating_add(u128::from(now_ns));
        match u64::try_from(tat_after) {
            Ok(tat_ns) if wanted <= capacity => Ok(Granted {
                tat_ns,
                remaining: self.remaining(wanted),
                reset_ns: tat_ns.saturating_sub(now_ns),
            }),
            _ => Err(Denied {
                remaining: self.remaining(backlog),
                reset_ns: tat_ns.saturating_sub(now_ns),
                retry_after_ns: if used > capacity {
                    u64::MAX
                } else {
                    u64::try_from(wanted.saturating_sub(capacity))
                        .unwrap_or(u64::MAX)
                        .max(1)
                },
            }),
        }
    }

    /// Gives back at once what was just granted: the theoretical arrival time to store now.
    #[must_use]
    pub const fn refund(&self, tat_ns: u64, cost: u64) -> u64 {
        self.refund_after(tat_ns, cost, 0)
    }

    /// Gives back `cost` that was granted `held_ns` nanoseconds ago.
    ///
    /// What has drained since then is not given back: it would be taken from others who came in between. So,
    /// whatever is refunded and in whatever order, what is not refunded stays within the limit.
    #[must_use]
    pub const fn refund_after(&self, tat_ns: u64, cost: u64, held_ns: u64) -> u64 {
        tat_ns.saturating_sub(self.used_ns(cost).saturating_sub(held_ns))
    }

    /// Whether a key with this time is as good as one never seen, so that a table may forget it.
    #[must_use]
    pub const fn is_idle(&self, tat_ns: u64, now_ns: u64) -> bool {
        tat_ns <= now_ns
    }

    /// What a request takes: as much as one of every counter that shares the limit.
    const fn used_ns(&self, cost: u64) -> u64 {
        self.interval_ns.saturating_mul(self.parts).saturating_mul(cost)
    }

    /// How far the backlog may go with a request of `cost`: the burst, or one such request where the part of it is less.
    fn capacity_ns(&self, cost: u64) -> u128 {
        let one = if cost <= self.burst {
            self.parts.saturating_mul(cost)
        } else {
            0
        };
        u128::from(self.interval_ns).saturating_mul(u128::from(self.burst.max(one)))
    }

    fn remaining(&self, backlog_ns: u128) -> u64 {
        let free = self.capacity_ns(1).saturating_sub(backlog_ns);
        let each = u128::from(self.used_ns(1)).max(1);
        u64::try_from(free.checked_div(each).unwrap_or(0)).unwrap_or(self.burst)
    }
}

#[cfg(test)]
mod tests;
