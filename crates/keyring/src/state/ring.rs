//! A ring and its keys, as the rules see them.

use super::{Bounds, KeyState};

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
    /// When verifiers could first learn of it; of a key that was called back, when they could learn of that.
    pub published_at: Option<i64>,
    /// The `seq` of the ring that told of it.
    pub published_seq: Option<u64>,
    /// When it stopped being the active key.
    pub retiring_at: Option<i64>,
    /// Tokens issued after this are not its own.
    pub sign_until: Option<i64>,
    /// After this it verifies nothing.
    pub verify_until: Option<i64>,
    /// When it was called back from retiring, last.
    pub reinstated_at: Option<i64>,
    /// Whether the sealed private part is still there.
    pub has_private: bool,
}

impl Ring {
    /// The key that signs.
    #[must_use]
    pub fn active(&self) -> Option<&RingKey> {
        self.keys.iter().find(|key| key.state == KeyState::Active)
    }

    /// The new key that stands ready.
    #[must_use]
    pub fn standby(&self) -> Option<&RingKey> {
        self.keys.iter().find(|key| key.is_standby())
    }

    /// The key that signs next: one that was called back, before the standby.
    #[must_use]
    pub fn successor(&self) -> Option<&RingKey> {
        let called_back = |key: &&RingKey| key.state == KeyState::Published && key.reinstated_at.is_some();
        self.keys.iter().find(called_back).or_else(|| self.standby())
    }

    /// The key with this name.
    #[must_use]
    pub fn key(&self, kid: &str) -> Option<&RingKey> {
        self.keys.iter().find(|key| key.kid == kid)
    }
}

impl RingKey {
    pub(super) fn generated(kid: &str) -> Self {
        Self {
            kid: kid.to_owned(),
            state: KeyState::Generated,
            published_at: None,
            published_seq: None,
            retiring_at: None,
            sign_until: None,
            verify_until: None,
            reinstated_at: None,
            has_private: true,
        }
    }

    pub(super) fn published(kid: &str, seq: u64, now: i64) -> Self {
        Self {
            state: KeyState::Published,
            published_at: Some(now),
            published_seq: Some(seq),
            ..Self::generated(kid)
        }
    }

    pub(super) fn is_standby(&self) -> bool {
        self.state == KeyState::Published && self.reinstated_at.is_none()
    }

    pub(super) fn retire(&mut self, now: i64, bounds: &Bounds) {
        self.state = KeyState::Retiring;
        self.retiring_at = Some(now);
        self.sign_until = Some(now + bounds.sign_window_s());
        self.verify_until = Some(now + bounds.verify_window_s());
    }

    /// Ends it in a state that has no private part.
    pub(super) fn end(&mut self, state: KeyState) {
        self.state = state;
        self.has_private = false;
    }

    /// Whether a verifier that holds this entry accepts a token of this key at `now`.
    #[must_use]
    pub fn verifies_at(&self, now: i64) -> bool {
        self.state.is_verifying() && self.verify_until.is_none_or(|verify_until| now <= verify_until)
    }
}
