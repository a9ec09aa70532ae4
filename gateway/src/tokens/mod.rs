//! Whether a bearer token is good: verified once, remembered, and asked again whenever anything has changed.
//!
//! **Invariant:** a remembered token gets the answer that it would get if it were verified now (J45).

mod cache;
mod reason;
#[cfg(test)]
mod tests;

pub(crate) use reason::{Reason, listed, result_of, words};

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyring::{CertificateHash, Expectations, TokenRefusal};
use policy::{IdentityProvider, KeySource, Principal};
use prometheus::IntCounter;
use service_runtime::clock::Clock;
use tokio::time::timeout;

use self::cache::{TokenCache, TokenHash};
use crate::keys::{Examined, KeySources};
use crate::metrics::METRICS;
use crate::revocations::{Marks, Revocations};

/// What tokens of one provider must be, for one policy.
pub(crate) struct TokenRules {
    expectations: Expectations,
    keys: KeySource,
    accepted: IntCounter,
}

impl TokenRules {
    pub(crate) fn new(provider: &IdentityProvider, expectations: Expectations) -> Self {
        for word in words() {
            // An alert on a rate needs the counter to be there before the first failure.
            METRICS.token(&provider.name, word);
        }
        Self {
            expectations,
            keys: provider.keys.clone(),
            accepted: METRICS
                .tokens
                .with_label_values(&[provider.name.as_str(), "accepted", "none"]),
        }
    }
}

/// A token that is good, and until when. What many have in common stands in their rules: tens of thousands are remembered.
pub(crate) struct AcceptedToken {
    pub(crate) principal: Arc<Principal>,
    rules: Arc<TokenRules>,
    jti: Option<String>,
    client_id: Option<String>,
    kid: Arc<str>,
    /// Unix seconds.
    issued_at: i64,
    /// Unix seconds; clock allowance included.
    good: Range<i64>,
    keys_generation: u64,
    /// Whose certificate its sender must show, each time (J33).
    bound_to: Option<CertificateHash>,
    /// The list of revocations that it was last compared with.
    compared_with: AtomicU64,
}

/// Checks tokens.
pub(crate) struct Tokens {
    pub(crate) keys: Arc<KeySources>,
    pub(crate) revocations: Arc<Revocations>,
    cache: TokenCache,
}

/// Why an accepted token is good no longer (J47).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Its time is over.
    Expired,
    /// It, or what it belongs to, was revoked, its key included.
    Revoked,
    /// There are no keys that count: whether it is good cannot be known (J38).
    NoKeys,
}

impl Tokens {
    /// Remembers about `max_tokens`; none with 0.
    pub(crate) fn new(keys: Arc<KeySources>, revocations: Arc<Revocations>, max_tokens: usize) -> Self {
        Self {
            keys,
            revocations,
            cache: TokenCache::new(max_tokens),
        }
    }

    /// Checks a token at `now_unix` (Unix seconds). `shows` says whether its sender has shown a certificate, which stands;
    /// it is asked of tokens that are bound to one.
    ///
    /// # Errors
    /// Why it is not good, or cannot be known to be.
    pub(crate) fn check(
        &self,
        rules: &Arc<TokenRules>,
        token: &str,
        now_unix: i64,
        shows: impl FnOnce(&CertificateHash) -> bool,
    ) -> Result<Arc<AcceptedToken>, Reason> {
        let keys = self
            .keys
            .generation(&rules.keys, now_unix)
            .ok_or(Reason::NoKeys)?;
        let hash = TokenHash::of(token);
        let remembered = self.cache.get(&hash).filter(|known| {
            known.keys_generation == keys
                && Arc::ptr_eq(&known.rules, rules)
                && known.good.contains(&now_unix)
        });
        let accepted = match remembered {
            Some(remembered) => {
                METRICS.token_cache_hits.inc();
                remembered
            }
            None => {
                METRICS.token_cache_misses.inc();
                let examined = self
                    .keys
                    .examine(&rules.keys, token, &rules.expectations, now_unix)?;
                let accepted = Arc::new(AcceptedToken::new(examined, rules));
                self.cache.insert(hash, accepted.clone());
                accepted
            }
        };
        if let Err(reason) = self.compare(&accepted) {
            self.cache.remove(&hash);
            return Err(reason);
        }
        // Whoever has it in hand, it stays good for its holder: it is remembered all the same.
        if accepted
            .bound_to
            .as_ref()
            .is_some_and(|bound_to| !shows(bound_to))
        {
            return Err(Reason::Refused(TokenRefusal::Unproven));
        }
        rules.accepted.inc();
        Ok(accepted)
    }

    /// Compares with what is revoked, once for each list.
    fn compare(&self, token: &AcceptedToken) -> Result<(), Reason> {
        let generation = self.revocations.generation();
        if token.compared_with.load(Ordering::Relaxed) == generation {
            return Ok(());
        }
        if let Some(revoked) = self.revocations.denies(token.marks()) {
            return Err(Reason::Revoked(revoked));
        }
        token.compared_with.store(generation, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until a token is good no longer (J47), for connections that outlive their request. Whoever waits is told
    /// within a second, also when a clock is set.
    pub(crate) async fn ended(&self, token: &AcceptedToken, clock: &Clock) -> Ending {
        let mut changes = self.revocations.changes();
        loop {
            changes.mark_unchanged();
            let now = clock.now().timestamp();
            let is_known = self.keys.knows(&token.rules.keys, &token.kid, now);
            if self.revocations.denies(token.marks()).is_some() || is_known == Some(false) {
                return Ending::Revoked;
            }
            if !token.good.contains(&now) {
                return Ending::Expired;
            }
            if is_known.is_none() {
                return Ending::NoKeys;
            }
            // Also elapsed when the sender is gone, which it never is before us.
            drop(timeout(Duration::from_secs(1), changes.changed()).await);
        }
    }
}

impl AcceptedToken {
    fn new(examined: Examined, rules: &Arc<TokenRules>) -> Self {
        let Examined { token, generation } = examined;
        let claims = token.claims;
        Self {
            principal: Arc::new(Principal {
                subject: claims.sub,
                session: claims.sid,
                tenant: claims.tid,
                scopes: claims.scope,
            }),
            rules: rules.clone(),
            jti: claims.jti,
            client_id: claims.client_id,
            kid: token.kid,
            issued_at: claims.iat,
            good: token.good,
            keys_generation: generation,
            bound_to: token.bound_to,
            compared_with: AtomicU64::new(0),
        }
    }

    /// Whether only the holder of a certificate may use it (J33).
    pub(crate) const fn is_bound(&self) -> bool {
        self.bound_to.is_some()
    }

    fn marks(&self) -> Marks<'_> {
        Marks {
            // The exact one, or the token had been refused (J28).
            issuer: &self.rules.expectations.issuer,
            jti: self.jti.as_deref(),
            sid: self.principal.session.as_deref(),
            sub: &self.principal.subject,
            client_id: self.client_id.as_deref(),
            kid: &self.kid,
            issued_at: self.issued_at,
        }
    }
}
