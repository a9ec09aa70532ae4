//! How often fetching a certificate was begun without a good end, and when it may be begun again; on disk, since a gateway
//! that is restarted in a loop must not ask in a loop.

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::MAX_BYTES;
use crate::durable_file::{read_bounded, write_atomically};

/// The wait after a first failure.
const FIRST_WAIT: TimeDelta = TimeDelta::minutes(1);
/// The longest wait.
const LONGEST_WAIT: TimeDelta = TimeDelta::hours(6);

/// The attempts for one certificate that were of no use.
pub(super) struct Attempts {
    file: PathBuf,
    known: Known,
}

#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
struct Known {
    begun: u32,
    /// Unix seconds.
    not_before: i64,
}

impl Attempts {
    /// What is on disk; nothing there is no attempt.
    pub(super) fn read(directory: &Path, name: &str) -> Self {
        let file = directory.join(format!("{name}.attempts.json"));
        let known = read_bounded(&file, MAX_BYTES).ok();
        let known = known.and_then(|known| serde_json::from_slice(&known).ok());
        Self {
            file,
            known: known.unwrap_or_default(),
        }
    }

    /// Whether another attempt may begin. A clock that was set back cannot hold it up for longer than the longest wait.
    pub(super) fn may_begin(&self, now: DateTime<Utc>) -> bool {
        let (now, not_before) = (now.timestamp(), self.known.not_before);
        now >= not_before || not_before.saturating_sub(now) > LONGEST_WAIT.num_seconds()
    }

    /// Notes that one begins now, and how long the next one has to wait should this one not end.
    ///
    /// # Errors
    /// When it cannot be written; then it must not begin.
    pub(super) fn begin(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let doubled = FIRST_WAIT
            .num_seconds()
            .saturating_mul(1_i64.checked_shl(self.known.begun.min(16)).unwrap_or(1));
        let known = Known {
            begun: self.known.begun.saturating_add(1),
            not_before: now
                .timestamp()
                .saturating_add(doubled.min(LONGEST_WAIT.num_seconds())),
        };
        self.write(known)
    }

    /// It has ended, and what it brought is due again: the next one has the longest wait.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn hold(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let not_before = now.timestamp().saturating_add(LONGEST_WAIT.num_seconds());
        let begun = self.known.begun.saturating_add(1);
        self.write(Known { begun, not_before })
    }

    fn write(&self, known: Known) -> anyhow::Result<()> {
        write_atomically(&self.file, &serde_json::to_vec(&known)?)
    }

    /// It has ended well.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub(super) fn forget(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(&self.file)?)
    }
}
