//! What the policy asks about the world while it decides: is this token good, is there room in this limit.

use std::sync::Arc;

use policy::{
    Charge, ClientCertificate, Evidence, IdentityProvider, KeySource, LimitStates, Principal, TokenFailure,
};

use crate::connection::Connection;
use crate::keys::VerificationFailure;
use crate::policy_source::Snapshot;
use crate::server::Shared;

/// The real answers, for one request.
pub(crate) struct LiveEvidence<'r> {
    pub(crate) shared: &'r Shared,
    pub(crate) snapshot: &'r Snapshot,
    pub(crate) connection: Option<&'r Connection>,
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
        Ok(Arc::new(Principal {
            subject: claims.sub,
            session: claims.sid,
            tenant: claims.tid,
            scopes: claims.scope,
        }))
    }

    fn client_certificate(&self) -> Result<Arc<ClientCertificate>, &'static str> {
        let connection = self.connection.ok_or("no_connection")?;
        let client = connection.tls.as_ref().and_then(|tls| tls.client.as_ref());
        let entrance = connection.entrance.tls.as_ref().ok_or("in_clear")?;
        client.ok_or("no_client_certificate")?.standing(entrance)
    }

    fn charge(&self, charges: &[Charge]) -> LimitStates {
        self.shared.limiter.charge(charges)
    }
}
