//! The life of a signing key, and of the ring it belongs to, as pure functions of events and time.
//!
//! ```text
//! generated ──▶ published ──▶ active ──▶ retiring ──▶ retired
//!                (standby)      (one)
//!                any of the first four ──▶ revoked
//! ```
//!
//! The control plane performs the same transitions as compare-and-set statements on database time; its tests compare the
//! two. **Invariant:** after the first event a ring has exactly one active key and exactly one standby (INV-4).

#[cfg(test)]
mod tests;

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
    /// Verifies nothing, for ever, and is listed as revoked.
    Revoked,
}

/// A word that is no key state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown key state")]
pub struct UnknownKeyState;

impl KeyState {
    /// Every state, in the order of a key's life.
    pub const ALL: [Self; 6] = [
        Self::Generated,
        Self::Published,
        Self::Active,
        Self::Retiring,
        Self::Retired,
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
            (Self::Generated, Self::Published | Self::Revoked)
                | (Self::Published, Self::Active | Self::Revoked)
                | (Self::Active, Self::Retiring | Self::Revoked)
                | (Self::Retiring, Self::Retired | Self::Revoked)
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

/// A ring of keys with one purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ring {
    /// Grows with every change that verifiers must learn of.
    pub seq: u64,
    /// The keys, oldest first.
    pub keys: Vec<RingKey>,
}

/// A key as the rules of its ring see it. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingKey {
    /// Its name.
    pub kid: String,
    /// Where it stands.
    pub state: KeyState,
    /// When verifiers could first learn of it.
    pub published_at: i64,
    /// When it stopped being the active key.
    pub retiring_at: Option<i64>,
    /// Tokens issued after this are not its own.
    pub sign_until: Option<i64>,
    /// After this it verifies nothing.
    pub verify_until: Option<i64>,
    /// Whether the sealed private part is still there.
    pub has_private: bool,
}

/// Something that may happen to a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The first start: a ring gets an active key and a standby.
    Initialise {
        /// Kid of the key that signs at once; nobody can hold an older key set.
        active: String,
        /// Kid of the first standby.
        standby: String,
    },
    /// The standby takes over, and a new standby is published.
    Rotate {
        /// Kid of the new standby.
        standby: String,
    },
    /// Retiring keys past their `verify_until` are retired (guard G4).
    Retire,
    /// Private parts past the rollback window are destroyed (INV-6).
    Purge,
}

/// Why an event does not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingRefusal {
    /// The ring has keys already.
    #[error("the ring is initialised")]
    Initialised,
    /// The ring has no active key or no standby.
    #[error("the ring is not initialised")]
    NotInitialised,
    /// Some verifier may not know the standby yet (guard G2).
    #[error("the standby key may be activated in {retry_after_s} s")]
    StandbyTooYoung {
        /// Seconds until it may be activated; at least 1.
        retry_after_s: i64,
    },
    /// A kid is in the ring already.
    #[error("the kid is in use")]
    KidInUse,
}

impl Ring {
    /// The key that signs.
    #[must_use]
    pub fn active(&self) -> Option<&RingKey> {
        self.keys.iter().find(|key| key.state == KeyState::Active)
    }

    /// The key that signs next.
    #[must_use]
    pub fn standby(&self) -> Option<&RingKey> {
        self.keys.iter().find(|key| key.state == KeyState::Published)
    }
}

impl RingKey {
    fn published(kid: &str, now: i64) -> Self {
        Self {
            kid: kid.to_owned(),
            state: KeyState::Published,
            published_at: now,
            retiring_at: None,
            sign_until: None,
            verify_until: None,
            has_private: true,
        }
    }

    /// Whether a verifier that holds this entry accepts a token of this key at `now`.
    #[must_use]
    pub fn verifies_at(&self, now: i64) -> bool {
        self.state.is_verifying() && self.verify_until.is_none_or(|verify_until| now <= verify_until)
    }
}

/// What a ring becomes when `event` happens at `now` (Unix seconds). An event with nothing to do gives the ring unchanged.
///
/// # Errors
///
/// The guard that stands against it; the ring then stays as it is.
pub fn step(ring: &Ring, event: &Event, now: i64, bounds: &Bounds) -> Result<Ring, RingRefusal> {
    match event {
        Event::Initialise { active, standby } => initialise(ring, active, standby, now),
        Event::Rotate { standby } => rotate(ring, standby, now, bounds),
        Event::Retire => Ok(retire(ring, now)),
        Event::Purge => Ok(purge(ring, now, bounds)),
    }
}

fn initialise(ring: &Ring, active: &str, standby: &str, now: i64) -> Result<Ring, RingRefusal> {
    if !ring.keys.is_empty() {
        return Err(RingRefusal::Initialised);
    }
    if active == standby {
        return Err(RingRefusal::KidInUse);
    }
    let mut first = RingKey::published(active, now);
    first.state = KeyState::Active;
    Ok(Ring {
        seq: ring.seq + 1,
        keys: vec![first, RingKey::published(standby, now)],
    })
}

fn rotate(ring: &Ring, new_standby: &str, now: i64, bounds: &Bounds) -> Result<Ring, RingRefusal> {
    let standby = ring.standby().ok_or(RingRefusal::NotInitialised)?;
    if ring.active().is_none() {
        return Err(RingRefusal::NotInitialised);
    }
    if ring.keys.iter().any(|key| key.kid == new_standby) {
        return Err(RingRefusal::KidInUse);
    }
    let retry_after_s = standby.published_at + i64::from(bounds.standby_dwell_s) - now;
    if retry_after_s > 0 {
        return Err(RingRefusal::StandbyTooYoung { retry_after_s });
    }
    let mut next = Ring {
        seq: ring.seq + 1,
        keys: ring.keys.clone(),
    };
    for key in &mut next.keys {
        match key.state {
            KeyState::Active => {
                key.state = KeyState::Retiring;
                key.retiring_at = Some(now);
                key.sign_until = Some(now + bounds.sign_window_s());
                key.verify_until = Some(now + bounds.verify_window_s());
            }
            KeyState::Published => key.state = KeyState::Active,
            KeyState::Generated | KeyState::Retiring | KeyState::Retired | KeyState::Revoked => {}
        }
    }
    next.keys.push(RingKey::published(new_standby, now));
    Ok(next)
}

fn retire(ring: &Ring, now: i64) -> Ring {
    let mut next = ring.clone();
    for key in &mut next.keys {
        if key.state == KeyState::Retiring && key.verify_until.is_some_and(|verify_until| now >= verify_until)
        {
            key.state = KeyState::Retired;
            key.has_private = false;
            next.seq = ring.seq + 1;
        }
    }
    next
}

fn purge(ring: &Ring, now: i64, bounds: &Bounds) -> Ring {
    let mut next = ring.clone();
    let window = i64::from(bounds.rollback_window_s);
    for key in &mut next.keys {
        if key
            .retiring_at
            .is_some_and(|retiring_at| now >= retiring_at + window)
        {
            key.has_private = false;
        }
    }
    next
}
