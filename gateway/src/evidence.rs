//! What the policy asks about the world while it decides: is this token good, is there room in this limit.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keyring::{CertificateHash, TokenRefusal};
use policy::{Charge, ClientCertificate, Evidence, IdentityProvider, LimitStates, Principal, TokenFailure};

use crate::connection::Connection;
use crate::policy_source::Snapshot;
use crate::server::Shared;
use crate::tokens::{AcceptedToken, Reason, result_of};

/// The real answers, for one request.
pub(crate) struct LiveEvidence<'r> {
    pub(crate) shared: &'r Shared,
    pub(crate) snapshot: &'r Snapshot,
    /// Where a good token is kept for the rest of the request.
    pub(crate) token: &'r OnceLock<Arc<AcceptedToken>>,
    pub(crate) connection: Option<&'r Connection>,
}

impl Evidence for LiveEvidence<'_> {
    fn authenticate(&self, provider: &IdentityProvider, token: &str) -> Result<Arc<Principal>, TokenFailure> {
        let rules = self.snapshot.token_rules(provider);
        let rules = rules.ok_or(TokenFailure::Unavailable("unknown_provider"))?;
        let now = self.shared.clock.now().timestamp();
        let accepted = self
            .shared
            .tokens
            .check(rules, token, now, |bound_to| self.has_shown(bound_to))
            .map_err(|reason| failure(provider, reason))?;
        let principal = accepted.principal.clone();
        // A request is decided once; a second token would be another request's.
        drop(self.token.set(accepted));
        Ok(principal)
    }

    fn knows_revocations(&self, within: Duration) -> bool {
        self.shared.tokens.revocations.are_known(within)
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

impl LiveEvidence<'_> {
    /// Whether the connection was opened with this certificate, and it still stands (J33).
    fn has_shown(&self, certificate: &CertificateHash) -> bool {
        let tls = self.connection.and_then(|connection| connection.tls.as_ref());
        let client = tls.and_then(|tls| tls.client.as_ref());
        client.is_some_and(|client| client.hash() == certificate) && self.client_certificate().is_ok()
    }
}

fn failure(provider: &IdentityProvider, reason: Reason) -> TokenFailure {
    if reason == Reason::Refused(TokenRefusal::SignedAfterRetirement) {
        tracing::error!(
            provider = provider.name,
            "a token is signed by a key that has stopped signing: was the key stolen? (INV-3)"
        );
    }
    let word = reason.as_str();
    if result_of(word) == "unavailable" {
        TokenFailure::Unavailable(word)
    } else {
        TokenFailure::Refused(word)
    }
}
