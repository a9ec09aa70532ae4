//! The compiled policy: immutable, resolved, and with everything a request needs prebuilt.

mod addresses;
mod answer;
mod answers;
mod facts;
mod proxies;
mod rate;
mod sunset;
mod waiver;

pub use addresses::AddressList;
pub use answer::ResponseHeaders;
pub(crate) use answer::{CORS_FIELDS, Cors, Profile};
pub use answers::{Cache, CacheKey, Compression};
pub(crate) use facts::RouteRules;
pub use facts::{
    AcmeChallenge, AddressRule, Algorithm, Breaker, Certificate, ClientCertificateRule, Ejection, Fallback,
    Floor, HealthCheck, HttpListener, HttpsListener, IdentityProvider, KeySource, KeyUrl, Limits, Listener,
    Retirement, Retries, Route, RouteAuth, RouteTarget, Rule, ScopesClaim, Served, Timeouts, TlsVersion,
    Upstream, UpstreamAddress, UpstreamAuthorization, UpstreamTls, WebSocket,
};
pub use proxies::{ClientSource, TrustedProxies};
pub use rate::{Count, CountIn, Mode, OnStoreDown, RateKey, RateLimit, is_failure};
pub use waiver::Waiver;

use crate::{
    evaluate::{Evidence, Outcome, Paused, Progress, RequestHead},
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
    pub(crate) hosts_rule: Rule,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) identity_providers: Vec<Arc<IdentityProvider>>,
    pub(crate) routes: Vec<Arc<Route>>,
    pub(crate) matcher: Matcher,
    pub(crate) floor: Floor,
    pub(crate) floor_headers: Arc<Profile>,
    pub(crate) lockout: Option<lockout::Rules>,
    pub(crate) waivers: Vec<Waiver>,
}

impl Plan {
    /// SHA-256 over the files that this plan was made of (base files and the overlay) and the environment, in
    /// lower-case hex.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The first twelve digits of the hash: what people read, and what a line of the access log carries.
    #[must_use]
    pub fn short_hash(&self) -> &str {
        self.hash.get(..12).unwrap_or(&self.hash)
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

    /// When guesses at passwords are refused; `None` when the policy does not say. The core carries it out.
    #[must_use]
    pub const fn lockout(&self) -> Option<&lockout::Rules> {
        self.lockout.as_ref()
    }

    /// Every limit, those of the floor first; each once.
    pub fn limits(&self) -> impl Iterator<Item = &Arc<RateLimit>> {
        let floor = &self.floor.rate;
        let is_own = |limit: &&Arc<RateLimit>| !floor.iter().any(|of_floor| of_floor.name == limit.name);
        let own = self.routes.iter().flat_map(|route| route.rates()).filter(is_own);
        floor.iter().chain(own)
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

    /// How many bytes of the body [`Plan::evaluate`] will ask for, when a limit of the matched route is keyed by a part
    /// of it or a document says what it may hold; `None` when it will not.
    #[must_use]
    pub fn body_needed(&self, head: &RequestHead<'_>) -> Option<u64> {
        crate::evaluate::body_needed(self, head)
    }

    /// Decides one request as far as its head goes, for whoever has not read its body yet. [`RequestHead::body`] is
    /// not looked at but for its length.
    #[must_use]
    pub fn begin(&self, head: &RequestHead<'_>, evidence: &dyn Evidence) -> Progress {
        crate::evaluate::begin(self, head, evidence, false)
    }

    /// Goes on where [`Plan::begin`] paused, with the same head and the body.
    #[must_use]
    pub fn resume(&self, paused: Paused, head: &RequestHead<'_>, evidence: &dyn Evidence) -> Outcome {
        crate::evaluate::resume(self, paused, head, evidence)
    }
}
