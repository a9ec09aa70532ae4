//! How many gateways count in the store: while it is down, each of them grants its part of a limit.
//!
//! **Invariant:** nobody grants more than its part of the most that were heard of within [`MEMORY`]: a store that comes back
//! empty and goes away again knows of few.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// For so long a gateway counts that says nothing.
pub(super) const MEMORY: Duration = Duration::from_mins(1);

/// The gateways of a store, as this one has heard.
pub(super) struct Members {
    /// What this process is called among them.
    pub(super) name: String,
    most: Mutex<(u64, Instant)>,
}

impl Members {
    /// As many as the settings say, until the store has said something else for a while.
    ///
    /// # Errors
    /// Without random numbers.
    pub(super) fn new(expected: u64) -> anyhow::Result<Self> {
        let mut bytes = [0_u8; 8];
        aws_lc_rs::rand::fill(&mut bytes).context("random numbers")?;
        Ok(Self {
            name: format!("{:016x}", u64::from_be_bytes(bytes)),
            most: Mutex::new((expected, Instant::now())),
        })
    }

    /// The store has said how many there are.
    pub(super) fn hear(&self, count: u64, now: Instant) {
        let mut most = self.most.lock().unwrap_or_else(PoisonError::into_inner);
        if count >= most.0 || now.saturating_duration_since(most.1) >= MEMORY {
            *most = (count, now);
        }
    }

    /// How many there are, this one among them.
    pub(super) fn count(&self) -> u64 {
        self.most.lock().unwrap_or_else(PoisonError::into_inner).0.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_are_believed_once_they_were_fewer_for_a_while() {
        let members = Members::new(2).unwrap();
        let start = Instant::now();
        let heard = |count, after: Duration| {
            members.hear(count, start + after);
            members.count()
        };
        assert_eq!(members.count(), 2, "as expected");
        assert_eq!(heard(1, Duration::from_secs(1)), 2);
        assert_eq!(heard(3, Duration::from_secs(2)), 3);
        assert_eq!(heard(3, Duration::from_secs(30)), 3);
        assert_eq!(heard(1, Duration::from_secs(30) + MEMORY / 2), 3);
        assert_eq!(heard(2, Duration::from_secs(30) + MEMORY), 2);
        assert_eq!(heard(4, Duration::from_secs(31) + MEMORY), 4);
    }
}
