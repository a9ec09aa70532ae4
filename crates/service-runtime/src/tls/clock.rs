//! The clock of a service, as rustls asks it.

use std::time::Duration;

use crate::clock::Clock;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

/// Time for verification.
#[derive(Debug)]
pub struct ClockTime(pub Clock);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().timestamp()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}
