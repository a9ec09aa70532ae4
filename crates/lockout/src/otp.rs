//! Codes of second factors that were wrong after a right password: whoever tries many knows the password of somebody else.
//!
//! Counted apart from passwords, for each person. A right code forgets nothing: whoever guesses would be given new guesses each
//! time the owner signs in.

use serde::{Deserialize, Serialize};

use crate::counters::Kept;
use crate::{Millis, Rules};

/// Wrong codes of one person,
pub const OTP_FAILURES: u32 = 10;
/// within so many seconds, after which no code is looked at until one of them is older.
pub const OTP_PER_S: u32 = 86_400;
/// Wrong codes of one log-in; then the password is asked for again.
pub const OTP_PER_LOGIN: i32 = 5;

/// Wrong codes of one person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtpCounter {
    /// When the last failures were, the oldest first.
    pub failed_at_ms: Vec<Millis>,
}

impl OtpCounter {
    /// For how many seconds no code is looked at any more; None when one may be tried.
    #[must_use]
    pub fn locked_for_s(&self, now: Millis) -> Option<u32> {
        let limit = usize::try_from(OTP_FAILURES).unwrap_or(usize::MAX);
        let place = self.failed_at_ms.len().checked_sub(limit)?;
        let until = later(*self.failed_at_ms.get(place)?);
        let left_ms = until.saturating_sub(now);
        (left_ms > 0).then(|| u32::try_from(left_ms.saturating_add(999) / 1_000).unwrap_or(u32::MAX))
    }

    /// Counts a wrong code. True when that was the last one for now. What is wrong while none is looked at makes that no longer.
    pub fn fail(&mut self, now: Millis) -> bool {
        if self.locked_for_s(now).is_some() {
            return false;
        }
        self.failed_at_ms.retain(|at| later(*at) > now);
        self.failed_at_ms.push(now);
        self.locked_for_s(now).is_some()
    }
}

fn later(moment: Millis) -> Millis {
    moment.saturating_add(i64::from(OTP_PER_S).saturating_mul(1_000))
}

impl Kept for OtpCounter {
    fn kept_s(&self, _: &Rules) -> u32 {
        OTP_PER_S
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY_MS: i64 = 86_400_000;

    #[test]
    fn ten_wrong_codes_of_a_day_are_the_last_until_the_first_is_a_day_old() {
        let mut counter = OtpCounter::default();
        for number in 0..9 {
            assert!(!counter.fail(number * 1_000));
            assert_eq!(counter.locked_for_s(number * 1_000), None);
        }
        assert!(counter.fail(9_000));
        assert_eq!(counter.locked_for_s(9_000), Some(86_391));
        assert_eq!(counter.locked_for_s(DAY_MS - 1), Some(1));
        assert_eq!(counter.locked_for_s(DAY_MS), None);
        assert!(counter.fail(DAY_MS));
        assert_eq!(counter.locked_for_s(DAY_MS), Some(1));
    }

    proptest! {
        #[test]
        fn no_day_has_more_than_ten_guesses(gaps in prop::collection::vec(0_i64..20_000_000, 1..200)) {
            let (mut counter, mut now, mut guesses) = (OtpCounter::default(), 0, Vec::new());
            for gap in gaps {
                now += gap;
                if counter.locked_for_s(now).is_none() {
                    counter.fail(now);
                    guesses.push(now);
                }
            }
            for guess in &guesses {
                let of_a_day = guesses.iter().filter(|other| (*guess..guess + DAY_MS).contains(*other));
                prop_assert!(of_a_day.count() <= 10);
            }
        }

        #[test]
        fn no_time_overflows(times in prop::collection::vec(any::<i64>(), 0..30), now in any::<i64>()) {
            let mut counter = OtpCounter { failed_at_ms: times };
            counter.fail(now);
            prop_assert!(counter.locked_for_s(now).is_none_or(|left| left > 0));
        }
    }
}
