//! The compiled policy: immutable, resolved, and with everything a request needs prebuilt.

mod addresses;
mod answer;
mod facts;
mod rate;
mod waiver;

pub use addresses::AddressList;
pub use answer::ResponseHeaders;
pub(crate) use answer::{CORS_FIELDS, Cors, Profile};
pub(crate) use facts::RouteRules;
pub use facts::{
    AcmeChallenge, AddressRule, Algorithm, Certificate, ClientCertificateRule, Floor, HttpListener,
    HttpsListener, IdentityProvider, KeySource, Limits, Listener, Route, RouteAuth, RouteTarget, Rule,
    Served, Timeouts, TlsVersion, Upstream, UpstreamAddress, UpstreamAuthorization,
};
pub use rate::{Count, RateKey, RateLimit, is_failure};
pub use waiver::Waiver;

use crate::{
    evaluate::{Evidence, Outcome, RequestHead},
    route_path::Matcher,
};
use std::sync::Arc;

/// One policy bundle, compiled for one environment. Never changes; swap the whole of it.
#[derive(Debug)]
pub struct Plan {
    pub(crate) hash: String,
    pub(crate) environment: String,
    pub(crate) listeners: Vec<Arc<Listener>>,
    pub(crate) certificates: Vec<Arc<Certificate>>,
    pub(crate) hosts: Vec<String>,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) identity_providers: Vec<Arc<IdentityProvider>>,
    pub(crate) routes: Vec<Arc<Route>>,
    pub(crate) matcher: Matcher,
    pub(crate) floor: Floor,
    pub(crate) floor_headers: Arc<Profile>,
    pub(crate) waivers: Vec<Waiver>,
}

impl Plan {
    /// SHA-256 over the files that this plan was made of (base files and the overlay) and the environment, in
    /// lower-case hex.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The environment it was compiled for.
    #[must_use]
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// Every listener, by name.
    #[must_use]
    pub fn listeners(&self) -> &[Arc<Listener>] {
        &self.listeners
    }

    /// Every certificate that the policy says more of than its name, by name.
    #[must_use]
    pub fn certificates(&self) -> &[Arc<Certificate>] {
        &self.certificates
    }

    /// The host names clients may use, in lower case, without ports. Never empty.
    #[must_use]
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Every upstream, by name.
    #[must_use]
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// Every identity provider, by name.
    #[must_use]
    pub fn identity_providers(&self) -> &[Arc<IdentityProvider>] {
        &self.identity_providers
    }

    /// Every route, by name.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// What applies to every request before a route is known.
    #[must_use]
    pub const fn floor(&self) -> &Floor {
        &self.floor
    }

    /// Decides one request. Asks `evidence` for what a pure function cannot know: signatures and counters.
    ///
    /// The phases are fixed and in the order of [`crate::Phase::ALL`].
    #[must_use]
    pub fn evaluate(&self, head: &RequestHead<'_>, evidence: &dyn Evidence) -> Outcome {
        crate::evaluate::run(self, head, evidence, false)
    }

    /// Decides one request as [`Plan::evaluate`] does, and keeps what each phase came to.
    #[must_use]
    pub fn explain(&self, head: &RequestHead<'_>, evidence: &dyn Evidence) -> Outcome {
        crate::evaluate::run(self, head, evidence, true)
    }

    /// How many bytes of the body must be read before [`Plan::evaluate`], when a limit of the matched route is
    /// keyed by a part of the body; `None` when the body is not needed.
    #[must_use]
    pub fn body_needed(&self, head: &RequestHead<'_>) -> Option<u64> {
        crate::evaluate::body_needed(self, head)
    }
}
