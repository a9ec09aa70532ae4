//! The budget of retries: they may never become the load.

use std::sync::atomic::{AtomicU32, Ordering};

/// What one retry costs; a request brings as many as the policy says per cent.
const RETRY: u32 = 100;
/// Retries that may be saved up, for quiet times.
const SAVED: u32 = 10;
const FULL: u32 = RETRY * SAVED;

/// Retries that may still be made, in hundredths. However many requests come, no more than the saved ones and so many
/// per hundred requests are sent again.
pub(super) struct Budget(AtomicU32);

impl Budget {
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(FULL))
    }

    /// A request has come.
    pub(super) fn deposit(&self, percent: u32) {
        if self.0.load(Ordering::Relaxed) >= FULL {
            return;
        }
        // Fails only when it is full meanwhile.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
                (saved < FULL).then(|| saved.saturating_add(percent).min(FULL))
            });
    }

    /// Takes one retry, if there is one.
    pub(super) fn withdraw(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
                saved.checked_sub(RETRY)
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_more_is_sent_again_than_the_saved_ones_and_the_percentage(
            percent in 1_u32..=50,
            // Whether the request wants to be sent again.
            requests in prop::collection::vec(any::<bool>(), 0..2_000),
        ) {
            let budget = Budget::new();
            let mut retries = 0_usize;
            for (index, wants_retry) in requests.iter().enumerate() {
                budget.deposit(percent);
                if *wants_retry && budget.withdraw() {
                    retries += 1;
                }
                let most = 10 + (index + 1) * usize::try_from(percent).unwrap() / 100;
                prop_assert!(retries <= most, "{retries} after {} requests", index + 1);
            }
            // And what is asked for within the percentage is given.
            let wanted = requests.iter().filter(|wants| **wants).count();
            prop_assert!(retries >= wanted.min(10));
        }
    }
}
