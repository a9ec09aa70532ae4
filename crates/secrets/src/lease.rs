//! Secrets that are lent for a time: when to ask for more of it, and when for others.

use chrono::{DateTime, TimeDelta, Utc};

/// What was lent, for how long, and whether the same may be had for longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The provider's name for it.
    pub id: String,
    /// Seconds from when it was granted or renewed.
    pub seconds: u32,
    /// Whether it can be renewed.
    pub is_renewable: bool,
}

/// A lease, and since when it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) lease: Lease,
    pub(crate) since: DateTime<Utc>,
    /// How long it was when it was new, seconds.
    whole_s: u32,
}

impl Held {
    pub(crate) const fn new(lease: Lease, since: DateTime<Utc>) -> Self {
        Self {
            whole_s: lease.seconds,
            lease,
            since,
        }
    }

    /// When it is to be renewed, after a third of it; or replaced, after a half, where it cannot be renewed. Whoever has it
    /// changes over in what is left.
    pub(crate) fn is_due_at(&self) -> DateTime<Utc> {
        let part = if self.lease.is_renewable { 3 } else { 2 };
        self.since + seconds(self.lease.seconds.checked_div(part).unwrap_or(0))
    }

    pub(crate) fn ends_at(&self) -> DateTime<Utc> {
        self.since + seconds(self.lease.seconds)
    }

    /// The same, renewed. None when it was not for half as long as at first: its longest life is near, and others are needed.
    pub(crate) fn renewed(&self, lease: Lease, now: DateTime<Utc>) -> Option<Self> {
        (lease.seconds >= self.whole_s.checked_div(2)?).then_some(Self {
            lease,
            since: now,
            whole_s: self.whole_s,
        })
    }
}

fn seconds(count: u32) -> TimeDelta {
    TimeDelta::seconds(i64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(seconds: u32, is_renewable: bool) -> Lease {
        Lease {
            id: "database/creds/core/1".to_owned(),
            seconds,
            is_renewable,
        }
    }

    #[test]
    fn a_lease_is_due_long_before_it_ends_and_is_given_up_when_it_gets_short() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let held = Held::new(lease(3_600, true), now);
        assert_eq!(held.is_due_at(), now + seconds(1_200));
        assert_eq!(held.ends_at(), now + seconds(3_600));
        let fixed = Held::new(lease(3_600, false), now);
        assert_eq!(fixed.is_due_at(), now + seconds(1_800));

        let later = now + seconds(1_200);
        let renewed = held.renewed(lease(1_800, true), later).unwrap();
        assert_eq!(renewed.is_due_at(), later + seconds(600));
        assert_eq!(
            renewed.renewed(lease(1_799, true), later),
            None,
            "measured by what it was at first"
        );
    }
}
