//! Whether the clock of this gateway can be believed: the control plane says what time its database has, by which tokens are
//! issued.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use service_runtime::clock::Clock;

use crate::metrics::METRICS;
use crate::since_boot::since_boot;

/// How far a clock may be off (S), milliseconds: judges of tokens allow for that, and for no more.
const ALLOWED_MS: i64 = 30_000;

/// What the control plane has said of the time.
#[derive(Debug)]
pub(crate) struct FleetTime {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    said: Option<Said>,
    /// Whether an operator was told.
    is_off: bool,
}

/// It was this late at some moment between the question and its answer, which are times since the boot of the machine.
#[derive(Debug, Clone, Copy)]
struct Said {
    unix_ms: i64,
    asked: Duration,
    answered: Duration,
}

impl FleetTime {
    /// Nobody has said anything yet: the clock is believed.
    pub(crate) const fn unknown(clock: Clock) -> Self {
        Self {
            clock,
            state: Mutex::new(State {
                said: None,
                is_off: false,
            }),
        }
    }

    /// The control plane has answered with its time, Unix milliseconds, to what was asked so long after the boot.
    pub(super) fn heard(&self, unix_ms: i64, asked: Duration) {
        let answered = since_boot();
        self.lock().said = Some(Said {
            unix_ms,
            asked,
            answered,
        });
        self.look();
    }

    /// By how many milliseconds the clock is ahead, at the least, when that is more than may be. What the control plane has said
    /// once counts on, so that a clock which is set is noticed at once, also while nobody can be asked.
    pub(crate) fn off_ms(&self) -> Option<i64> {
        self.look()
            .filter(|offset_ms| offset_ms.saturating_abs() > ALLOWED_MS)
    }

    /// How far the clock is off now, at the least.
    fn look(&self) -> Option<i64> {
        let mut state = self.lock();
        let offset_ms = state
            .said?
            .offset_ms(self.clock.now().timestamp_millis(), since_boot());
        METRICS.clock_offset.set(offset_ms);
        let is_off = offset_ms.saturating_abs() > ALLOWED_MS;
        match (std::mem::replace(&mut state.is_off, is_off), is_off) {
            (false, true) => tracing::error!(
                offset_ms,
                "THE CLOCK OF THIS MACHINE IS WRONG: tokens are judged wrongly, so this gateway is not ready until it is set"
            ),
            (true, false) => tracing::info!(offset_ms, "the clock of this machine is right again"),
            _ => {}
        }
        Some(offset_ms)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Said {
    /// How far a clock that says this is ahead, at the least: a slow answer makes no clock wrong.
    fn offset_ms(self, clock_unix_ms: i64, since_boot: Duration) -> i64 {
        let later = |moment: Duration| {
            let passed = since_boot.saturating_sub(moment).as_millis();
            let time = self
                .unix_ms
                .saturating_add(i64::try_from(passed).unwrap_or(i64::MAX));
            clock_unix_ms.saturating_sub(time)
        };
        let (least, most) = (later(self.asked), later(self.answered));
        if least > 0 { least } else { most.min(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_by_what_no_delay_explains() {
        let seconds = Duration::from_secs;
        let said = Said {
            unix_ms: 1_000_000,
            asked: seconds(100),
            answered: seconds(104),
        };
        // At the answer it is between 1,000 and 1,004 s.
        assert_eq!(said.offset_ms(1_002_000, seconds(104)), 0);
        assert_eq!(said.offset_ms(1_005_000, seconds(104)), 1_000);
        assert_eq!(said.offset_ms(999_000, seconds(104)), -1_000);
        // A minute later, whatever happened to the clock meanwhile.
        assert_eq!(said.offset_ms(1_062_000, seconds(164)), 0);
        assert_eq!(said.offset_ms(1_095_000, seconds(164)), 31_000);
        assert_eq!(said.offset_ms(1_029_000, seconds(164)), -31_000);
    }
}
