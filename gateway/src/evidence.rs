//! What the policy asks about the world while it decides: is this token good, is there room in this limit.

use std::cell::Cell;
use std::sync::Arc;

use policy::{Charge, Evidence, IdentityProvider, KeySource, LimitStates, Principal, TokenFailure};

use crate::keys::VerificationFailure;
use crate::policy_source::Snapshot;
use crate::server::Shared;

/// The real answers, for one request.
pub(crate) struct LiveEvidence<'r> {
    pub(crate) shared: &'r Shared,
    pub(crate) snapshot: &'r Snapshot,
    /// When the token that was accepted expires, in Unix seconds.
    pub(crate) expires: Cell<Option<i64>>,
}

impl Evidence for LiveEvidence<'_> {
    fn authenticate(&self, provider: &IdentityProvider, token: &str) -> Result<Arc<Principal>, TokenFailure> {
        let expectations = self
            .snapshot
            .expectations(provider)
            .ok_or(TokenFailure::Unavailable("unknown_provider"))?;
        let now = self.shared.clock.now().timestamp();
        let verified = match &provider.keys {
            KeySource::Portico => self.shared.keys.verify(token, expectations, now),
            KeySource::File(name) => self.shared.key_files.verify(name, token, expectations, now),
        };
        let claims = verified.map_err(|failure| match failure {
            VerificationFailure::Refused(refusal) => {
                if refusal == keyring::TokenRefusal::SignedAfterRetirement {
                    tracing::error!(
                        "a token is signed by a key that has stopped signing: was the key stolen? (INV-3)"
                    );
                }
                TokenFailure::Refused(refusal.as_str())
            }
            VerificationFailure::NoKeys => TokenFailure::Unavailable("no_keys"),
        })?;
        self.expires.set(Some(claims.exp));
        Ok(Arc::new(Principal {
            subject: claims.sub,
            session: claims.sid,
            tenant: claims.tid,
            scopes: claims.scope,
        }))
    }

    fn charge(&self, charges: &[Charge]) -> LimitStates {
        self.shared.limiter.charge(charges)
    }
}
