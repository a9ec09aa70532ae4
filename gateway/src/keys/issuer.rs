//! The keys of one issuer while they are in force.

use std::sync::atomic::{AtomicU64, Ordering};

use keyring::{Expectations, TokenRefusal, VerifiedToken, Verifier};

/// Keys that verify, with a number that no other set of this process has.
#[derive(Debug)]
pub(crate) struct IssuerKeys {
    verifier: Verifier,
    generation: u64,
}

/// A good token, and the keys that said so.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) token: VerifiedToken,
    pub(crate) generation: u64,
}

impl IssuerKeys {
    pub(crate) fn new(verifier: Verifier) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            verifier,
            generation: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Changes with every other set, also when a set comes back.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn count(&self) -> usize {
        self.verifier.key_count()
    }

    /// Whether tokens of this key are good.
    pub(crate) fn knows(&self, kid: &str) -> bool {
        self.verifier.knows(kid)
    }

    pub(crate) fn examine(
        &self,
        token: &str,
        expectations: &Expectations,
        now_unix: i64,
    ) -> Result<Examined, TokenRefusal> {
        let token = self.verifier.examine(token, expectations, now_unix)?;
        Ok(Examined {
            token,
            generation: self.generation,
        })
    }
}
