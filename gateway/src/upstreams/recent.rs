//! What became of the requests that one address was sent in the last seconds.

use std::sync::atomic::{AtomicU64, Ordering};

/// For so long a request counts, in seconds.
const SECONDS: u32 = 10;
const SLOTS: usize = 10;

/// Requests by the second in which they ended. Without a lock, as [`super::breaker`] is: the second and both numbers of a
/// slot are one word.
#[derive(Debug, Default)]
pub(super) struct Recent([AtomicU64; SLOTS]);

/// How many requests ended well, and how many failed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) good: u32,
    pub(super) failed: u32,
}

impl Counts {
    /// Whether there were any, and fewer than half of them failed.
    pub(super) const fn are_mostly_good(self) -> bool {
        self.good > self.failed
    }
}

/// A slot: 32 bits of a second, 16 of each number, which stay at their highest.
#[derive(Debug, Clone, Copy)]
struct Slot {
    second: u32,
    good: u16,
    failed: u16,
}

impl Slot {
    const fn read(word: u64) -> Self {
        let [a, b, c, d, good_high, good_low, failed_high, failed_low] = word.to_be_bytes();
        Self {
            second: u32::from_be_bytes([a, b, c, d]),
            good: u16::from_be_bytes([good_high, good_low]),
            failed: u16::from_be_bytes([failed_high, failed_low]),
        }
    }

    const fn word(self) -> u64 {
        let [a, b, c, d] = self.second.to_be_bytes();
        let [good_high, good_low] = self.good.to_be_bytes();
        let [failed_high, failed_low] = self.failed.to_be_bytes();
        u64::from_be_bytes([a, b, c, d, good_high, good_low, failed_high, failed_low])
    }
}

impl Recent {
    /// A request has ended now.
    pub(super) fn count(&self, now_ms: u64, has_failed: bool) {
        let second = second_of(now_ms);
        let index = usize::try_from(second).unwrap_or_default() % SLOTS;
        let Some(slot) = self.0.get(index) else { return };
        let counted = |word| {
            let kept = Slot::read(word);
            let mut slot = match kept.second == second {
                true => kept,
                false => Slot {
                    second,
                    good: 0,
                    failed: 0,
                },
            };
            if has_failed {
                slot.failed = slot.failed.saturating_add(1);
            } else {
                slot.good = slot.good.saturating_add(1);
            }
            Some(slot.word())
        };
        // Never fails: there is always another word.
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted);
    }

    /// All of the last seconds.
    pub(super) fn counts(&self, now_ms: u64) -> Counts {
        let now = second_of(now_ms);
        let slots = self.0.iter().map(|slot| Slot::read(slot.load(Ordering::Relaxed)));
        let recent = slots.filter(|slot| now.saturating_sub(slot.second) < SECONDS);
        recent.fold(Counts::default(), |all, slot| Counts {
            good: all.good.saturating_add(u32::from(slot.good)),
            failed: all.failed.saturating_add(u32::from(slot.failed)),
        })
    }

    /// What was is over.
    pub(super) fn forget(&self) {
        for slot in &self.0 {
            slot.store(0, Ordering::Relaxed);
        }
    }
}

fn second_of(now_ms: u64) -> u32 {
    u32::try_from(now_ms / 1_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_ended_in_the_last_ten_seconds_is_counted_and_nothing_else(
            ends in prop::collection::vec((0_u64..3_000, any::<bool>()), 0..200),
        ) {
            let recent = Recent::default();
            let (mut now_ms, mut ended) = (1, Vec::new());
            for (wait_ms, has_failed) in ends {
                now_ms += wait_ms;
                recent.count(now_ms, has_failed);
                ended.push((now_ms / 1_000, has_failed));
                let counted = |failed| {
                    let recent = |(second, has): &&(u64, bool)| now_ms / 1_000 - second < 10 && *has == failed;
                    u32::try_from(ended.iter().filter(recent).count()).unwrap()
                };
                let expected = Counts { good: counted(false), failed: counted(true) };
                prop_assert_eq!(recent.counts(now_ms), expected);
            }
            recent.forget();
            prop_assert_eq!(recent.counts(now_ms), Counts::default());
        }
    }

    #[test]
    fn a_number_that_is_full_stays_full() {
        let recent = Recent::default();
        for _ in 0..70_000 {
            recent.count(5_000, true);
        }
        recent.count(5_000, false);
        let counts = recent.counts(5_000);
        assert_eq!((counts.good, counts.failed), (1, u32::from(u16::MAX)));
    }
}
