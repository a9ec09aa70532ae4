//! Time that no clock setting changes, and that goes on while the machine is suspended.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Linux has a clock of its own for it; elsewhere the monotonic one goes on by itself.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// How long ago the machine was started, suspensions included.
pub(crate) fn since_boot() -> Duration {
    let time = clock_gettime(CLOCK);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_uptime_of_the_machine() {
        // What the kernel says of itself, which counts suspensions.
        let uptime = || {
            let text = std::fs::read_to_string("/proc/uptime").unwrap();
            let (seconds, hundredths) = text.split(' ').next().unwrap().split_once('.').unwrap();
            Duration::from_secs(seconds.parse().unwrap())
                + Duration::from_millis(10 * hundredths.parse::<u64>().unwrap())
        };
        let before = uptime();
        let found = since_boot();
        let after = uptime() + Duration::from_millis(10);
        assert!(
            (before..=after).contains(&found),
            "{before:?} {found:?} {after:?}"
        );
    }
}
