//! Business time as an input: services read it from a [`Clock`], tests set it.
//!
//! Security transitions (keys, locks, leases) do not use this clock: they use the database's.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

/// Tells the time; a clone tells the same time.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<Mutex<DateTime<Utc>>>>);

impl Clock {
    /// The clock of the operating system.
    #[must_use]
    pub const fn system() -> Self {
        Self(None)
    }

    /// A clock that stands still until it is told otherwise.
    #[must_use]
    pub fn manual(start: DateTime<Utc>) -> Self {
        Self(Some(Arc::new(Mutex::new(start))))
    }

    /// The time now, UTC.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            Some(manual) => *manual.lock().unwrap_or_else(PoisonError::into_inner),
            #[expect(
                clippy::disallowed_methods,
                reason = "the one place that reads the system clock"
            )]
            None => Utc::now(),
        }
    }

    /// Moves a manual clock forward; the system clock does not listen.
    pub fn advance(&self, by: TimeDelta) {
        if let Some(manual) = &self.0 {
            *manual.lock().unwrap_or_else(PoisonError::into_inner) += by;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_manual_clock_tell_the_same_time() {
        let clock = Clock::manual(DateTime::UNIX_EPOCH);
        let twin = clock.clone();
        clock.advance(TimeDelta::seconds(90));
        assert_eq!(twin.now().timestamp(), 90);
    }
}
