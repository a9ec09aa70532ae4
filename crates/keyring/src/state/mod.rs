//! The life of a signing key, and of the ring it belongs to, as pure functions of events and time.
//!
//! ```text
//! generated ──▶ published ──▶ active ──▶ retiring ──▶ retired
//!      │        (standby) ◀────────────── (called back)
//!      ▼            │           (one)
//!   aborted ◀───────┘       any of the first four ──▶ revoked
//! ```
//!
//! The control plane performs the same transitions as compare-and-set statements on database time; its tests compare the
//! two. **Invariant:** after the first event a ring has exactly one active key and exactly one standby (INV-4).

mod ring;
mod step;
#[cfg(test)]
mod tests;

pub use ring::{Ring, RingKey};
pub use step::{Event, RingRefusal, step};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a key stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Made, not yet known to anybody.
    Generated,
    /// In the key set, so that every verifier knows it before it signs: the standby.
    Published,
    /// Signs. Exactly one key of a ring is active.
    Active,
    /// Signs no more; verifies what it signed until its `verify_until`.
    Retiring,
    /// Verifies nothing; its private part is gone.
    Retired,
    /// Set aside before it has signed anything; its private part is gone.
    Aborted,
    /// Verifies nothing, for ever, and is listed as revoked.
    Revoked,
}

/// A word that is no key state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown key state")]
pub struct UnknownKeyState;

impl KeyState {
    /// Every state, in the order of a key's life.
    pub const ALL: [Self; 7] = [
        Self::Generated,
        Self::Published,
        Self::Active,
        Self::Retiring,
        Self::Retired,
        Self::Aborted,
        Self::Revoked,
    ];

    /// The word in the database, in documents and in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Generated => "generated",
            Self::Published => "published",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
            Self::Aborted => "aborted",
            Self::Revoked => "revoked",
        }
    }

    /// Whether a key in this state belongs in a key set.
    #[must_use]
    pub const fn is_verifying(self) -> bool {
        matches!(self, Self::Published | Self::Active | Self::Retiring)
    }

    /// Whether a key may go from this state to `next` in one transition.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Generated, Self::Published | Self::Aborted | Self::Revoked)
                | (Self::Published, Self::Active | Self::Aborted | Self::Revoked)
                | (Self::Active, Self::Retiring | Self::Revoked)
                | (Self::Retiring, Self::Published | Self::Retired | Self::Revoked)
        )
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyState {
    type Err = UnknownKeyState;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or(UnknownKeyState)
    }
}

/// The durations that a rotation keeps, all in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How long a standby must have been published before it may sign: longest cache plus skew (guard G2).
    pub standby_dwell_s: u32,
    /// How long an issuer may still use the old key after the switch (N).
    pub issuer_overlap_s: u32,
    /// Longest life of a token (A).
    pub token_lifetime_s: u32,
    /// Clock skew allowance of each side (S).
    pub skew_s: u32,
    /// How long the private part of a retiring key is kept.
    pub rollback_window_s: u32,
}

impl Bounds {
    /// Seconds after a switch during which the old key may still have signed: N (guard G3).
    #[must_use]
    pub fn sign_window_s(&self) -> i64 {
        i64::from(self.issuer_overlap_s)
    }

    /// Seconds after a switch during which the old key verifies: N + A + 2S (guard G3). One S for a verifier whose clock
    /// runs ahead, one for an issuer whose clock does.
    #[must_use]
    pub fn verify_window_s(&self) -> i64 {
        self.sign_window_s() + i64::from(self.token_lifetime_s) + 2 * i64::from(self.skew_s)
    }
}
