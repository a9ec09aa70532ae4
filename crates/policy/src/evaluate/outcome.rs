//! What evaluation answers.

use super::evidence::{Charge, LimitState, LimitStates, Principal};
use crate::{
    openapi::RequestFault,
    plan::{Mode, Plan, Route, RouteTarget, Rule, Served, Timeouts, Upstream},
};
use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;
use std::{borrow::Cow, sync::Arc};

/// The fixed phases, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Which listener, in clear or not.
    Connection,
    /// Host and sizes of the head.
    Framing,
    /// Canonical path and route.
    Path,
    /// Client address.
    Address,
    /// Limits keyed by address.
    Limits,
    /// Cross-origin rules.
    Cors,
    /// Who is it.
    Authentication,
    /// Size of the body, before anything in it counts.
    Body,
    /// Limits keyed by subject or body.
    SubjectLimits,
    /// May it.
    Authorization,
    /// Whether the request is one that the OpenAPI document describes.
    Validation,
    /// Where it goes.
    Upstream,
    /// What the answer carries.
    Headers,
}

impl Phase {
    /// Every phase in the order of evaluation.
    pub const ALL: [Self; 13] = [
        Self::Connection,
        Self::Framing,
        Self::Path,
        Self::Address,
        Self::Limits,
        Self::Cors,
        Self::Authentication,
        Self::Body,
        Self::SubjectLimits,
        Self::Authorization,
        Self::Validation,
        Self::Upstream,
        Self::Headers,
    ];

    /// Name for people, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Framing => "framing",
            Self::Path => "path",
            Self::Address => "address",
            Self::Limits => "limits",
            Self::Cors => "cors",
            Self::Authentication => "authentication",
            Self::SubjectLimits => "subject_limits",
            Self::Authorization => "authorization",
            Self::Body => "body",
            Self::Validation => "validation",
            Self::Upstream => "upstream",
            Self::Headers => "headers",
        }
    }
}

/// What a phase came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhaseResult {
    /// The request goes on.
    Passed,
    /// Nothing to do here for this request.
    Skipped,
    /// The request ends here, refused.
    Refused,
    /// The request ends here, answered by the gateway (redirect, preflight).
    Answered,
}

impl PhaseResult {
    /// Name for people and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
            Self::Answered => "answered",
        }
    }
}

/// One line of `policy explain`.
#[derive(Debug, Clone)]
pub struct PhaseTrace {
    /// The phase.
    pub phase: Phase,
    /// What it came to.
    pub result: PhaseResult,
    /// The line that decided.
    pub rule: Rule,
    /// What happened, for people.
    pub detail: Cow<'static, str>,
}

/// Everything evaluation has to say about one request.
#[derive(Debug)]
pub struct Outcome {
    /// The decision.
    pub decision: Decision,
    /// The matched route, also when it refused.
    pub route: Option<Arc<Route>>,
    /// Every phase that ran, in order; kept by [`Plan::explain`](crate::Plan::explain) only.
    pub trace: Vec<PhaseTrace>,
    /// Every limit that was asked, in order.
    pub limits: LimitStates,
    /// Charges that were reserved for a failure. Refund each of them unless the upstream answers with 401 or 403.
    pub failure_charges: Vec<Charge>,
    pub(super) unconfirmed: Vec<Charge>,
}

/// How far a request can be decided by its head.
#[derive(Debug)]
pub enum Progress {
    /// To the end.
    Decided(Outcome),
    /// Up to its body: a limit of its route is keyed by a part of it, or a document says what it may hold.
    NeedsBody(Paused),
}

/// A request that has passed every phase that needs no body. Read at most [`Paused::body_limit`] bytes of the body, then
/// go on with [`Plan::resume`](crate::Plan::resume).
#[derive(Debug)]
pub struct Paused {
    pub(super) next: super::Next,
    pub(super) route: Arc<Route>,
    pub(super) caller: super::Caller,
    pub(super) limits: LimitStates,
    pub(super) failure_charges: Vec<Charge>,
    pub(super) unconfirmed: Vec<Charge>,
    pub(super) trace: Option<Vec<PhaseTrace>>,
}

impl Paused {
    /// Most bytes of body that this route takes; more is 413.
    #[must_use]
    pub fn body_limit(&self) -> u64 {
        self.route.limits.body
    }

    /// The route.
    #[must_use]
    pub const fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The end of a request with a body that is longer than [`Paused::body_limit`].
    #[must_use]
    pub fn too_large(self) -> Outcome {
        let rule = self.route.rules.body.clone();
        let detail = "the body is larger than this route takes";
        self.refused(DenialKind::PayloadTooLarge, rule, detail)
    }

    /// The end of a request whose body did not come in time.
    #[must_use]
    pub fn too_slow(self, plan: &Plan) -> Outcome {
        let rule = plan.floor.body_timeout_rule.clone();
        self.refused(DenialKind::RequestTimeout, rule, "the body took too long")
    }

    fn refused(self, kind: DenialKind, rule: Rule, detail: &'static str) -> Outcome {
        Outcome {
            decision: Decision::Deny(Denial::new(kind, Phase::Body, rule, detail)),
            route: Some(self.route),
            trace: self.trace.unwrap_or_default(),
            limits: self.limits,
            failure_charges: self.failure_charges,
            unconfirmed: self.unconfirmed,
        }
    }
}

impl Outcome {
    /// The limit to report in `RateLimit`: one that refused, else the one with the fewest requests left.
    #[must_use]
    pub fn tightest(&self) -> Option<&LimitState> {
        let enforced = self
            .limits
            .iter()
            .filter(|state| state.limit.mode == Mode::Enforce);
        enforced.min_by_key(|state| {
            (
                state.granted,
                std::cmp::Reverse(state.retry_after),
                state.remaining,
                std::cmp::Reverse(state.reset),
            )
        })
    }
}

/// What to do with the request.
#[derive(Debug)]
pub enum Decision {
    /// Let it through.
    Permit(Permit),
    /// Answer with a problem document.
    Deny(Denial),
    /// Answer without a body: a preflight (204) or a redirect (308).
    Respond(Answer),
}

/// An answer without a body that the gateway gives by itself.
#[derive(Debug, Clone)]
pub struct Answer {
    /// 204 or 308.
    pub status: u16,
    /// Where it ended.
    pub phase: Phase,
    /// The line that decided.
    pub rule: Rule,
    /// `Location`, or the CORS fields.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// The only way to an upstream. Evaluation alone can make one: there is no public constructor.
#[derive(Debug)]
pub struct Permit {
    pub(super) route: Arc<Route>,
    pub(super) target: ForwardTarget,
    pub(super) principal: Option<Arc<Principal>>,
    pub(super) client_name: Option<usize>,
    pub(super) is_confirmed: bool,
}

/// The canonical path and the query to forward; held inline, so that most permits cost no allocation.
#[derive(Debug)]
pub(super) struct ForwardTarget {
    path_and_query: SmallVec<[u8; 128]>,
    path_length: usize,
    has_query: bool,
}

impl ForwardTarget {
    pub(super) fn new(path: &str, query: Option<&str>) -> Self {
        let mut path_and_query = SmallVec::from_slice(path.as_bytes());
        path_and_query.extend_from_slice(query.unwrap_or_default().as_bytes());
        Self {
            path_and_query,
            path_length: path.len(),
            has_query: query.is_some(),
        }
    }

    /// Both halves were text when they came in.
    fn halves(&self) -> (&str, &str) {
        let (path, query) = self
            .path_and_query
            .split_at_checked(self.path_length)
            .unwrap_or_default();
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        (text(path), text(query))
    }
}

/// Where a permit leads.
#[derive(Debug, Clone, Copy)]
pub enum Action<'p> {
    /// To a service.
    Upstream(&'p Arc<Upstream>),
    /// The gateway answers by itself.
    Serve(Served),
}

impl Permit {
    /// The route.
    #[must_use]
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// Where to go.
    #[must_use]
    pub fn action(&self) -> Action<'_> {
        match &self.route.target {
            RouteTarget::Upstream(upstream, _) => Action::Upstream(upstream),
            RouteTarget::Serve(served) => Action::Serve(*served),
        }
    }

    /// The path to forward (PA-1): what was matched is what is sent.
    #[must_use]
    pub fn canonical_path(&self) -> &str {
        self.target.halves().0
    }

    /// The query to forward, without `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target.has_query.then(|| self.target.halves().1)
    }

    /// Whom the token speaks for; `None` on a route for anyone.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_deref()
    }

    /// The name of the client certificate that opened the route; `None` on a route that needs none.
    #[must_use]
    pub fn client_name(&self) -> Option<&str> {
        let certificate = self.route.client_certificate.as_ref()?;
        certificate.names.get(self.client_name?).map(String::as_str)
    }

    /// Whether the `Authorization` header is passed on; never on a route for anyone.
    #[must_use]
    pub fn forwards_authorization(&self) -> bool {
        match &self.route.target {
            RouteTarget::Upstream(upstream, _) => {
                self.principal.is_some()
                    && upstream.authorization == crate::plan::UpstreamAuthorization::Forward
            }
            RouteTarget::Serve(_) => false,
        }
    }

    /// Most bytes of body to forward; more is 413.
    #[must_use]
    pub fn body_limit(&self) -> u64 {
        self.route.limits.body
    }

    /// How long to wait for the upstream; `None` when the gateway answers by itself.
    #[must_use]
    pub fn timeouts(&self) -> Option<Timeouts> {
        match &self.route.target {
            RouteTarget::Upstream(_, timeouts) => Some(*timeouts),
            RouteTarget::Serve(_) => None,
        }
    }

    /// Whether the store has granted every shared limit; a permit without that forwards nothing.
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        self.is_confirmed
    }
}

/// The closed list of refusals. The gateway maps each to its problem type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DenialKind {
    /// 400: host, path, query or header in a form that is not accepted.
    MalformedRequest,
    /// 400: something that the OpenAPI document of the service does not allow.
    InvalidRequest,
    /// 401.
    Unauthenticated,
    /// 403: a scope is missing.
    InsufficientScope,
    /// 403: the request came in clear.
    HttpsRequired,
    /// 403: a preflight for an origin, method or header that is not allowed.
    CorsRefused,
    /// 403: there is no client certificate, or not the one that the route is open to.
    ClientCertificate,
    /// 403: nothing is taken from this address, or not on this route.
    AddressRefused,
    /// 404.
    NotFound,
    /// 405, with `Allow`.
    MethodNotAllowed,
    /// 408: the body did not come in time.
    RequestTimeout,
    /// 413.
    PayloadTooLarge,
    /// 414.
    TargetTooLong,
    /// 415: a body of another type than the service takes.
    UnsupportedMediaType,
    /// 417: an expectation that nobody here meets.
    ExpectationFailed,
    /// 421: a host that this listener does not serve.
    MisdirectedRequest,
    /// 429.
    RateLimited,
    /// 431.
    HeadTooLarge,
    /// 503: cannot be decided now, so no.
    Unavailable,
    /// 503: a shared limit cannot be counted now, and the policy says no.
    ReducedCapacity,
}

impl DenialKind {
    /// HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::MalformedRequest | Self::InvalidRequest => 400,
            Self::Unauthenticated => 401,
            Self::InsufficientScope
            | Self::HttpsRequired
            | Self::CorsRefused
            | Self::ClientCertificate
            | Self::AddressRefused => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::PayloadTooLarge => 413,
            Self::TargetTooLong => 414,
            Self::UnsupportedMediaType => 415,
            Self::ExpectationFailed => 417,
            Self::MisdirectedRequest => 421,
            Self::RateLimited => 429,
            Self::HeadTooLarge => 431,
            Self::Unavailable | Self::ReducedCapacity => 503,
        }
    }

    /// Word for logs and metrics, and the end of the problem type.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformed-request",
            Self::InvalidRequest => "invalid-request",
            Self::Unauthenticated => "unauthenticated",
            Self::InsufficientScope => "insufficient-scope",
            Self::HttpsRequired => "https-required",
            Self::CorsRefused => "cors-refused",
            Self::ClientCertificate => "client-certificate-required",
            Self::AddressRefused => "address-refused",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::RequestTimeout => "request-timeout",
            Self::PayloadTooLarge => "payload-too-large",
            Self::TargetTooLong => "target-too-long",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::ExpectationFailed => "expectation-failed",
            Self::MisdirectedRequest => "misdirected-request",
            Self::RateLimited => "rate-limited",
            Self::HeadTooLarge => "head-too-large",
            Self::Unavailable => "unavailable",
            Self::ReducedCapacity => "temporary-reduced-capacity",
        }
    }
}

/// Why a request is refused.
#[derive(Debug, Clone)]
pub struct Denial {
    /// What kind of refusal.
    pub kind: DenialKind,
    /// Where it ended.
    pub phase: Phase,
    /// The line that decided.
    pub rule: Rule,
    /// For the client; holds nothing about anyone.
    pub detail: Cow<'static, str>,
    /// One word for metrics and the log; never for the client.
    pub reason: &'static str,
    /// `Allow`, `WWW-Authenticate`, `Retry-After`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The same number as `Retry-After`, in seconds.
    pub retry_after_s: Option<u64>,
    /// Names of the limits that were exceeded (`violated-policies`).
    pub violated_policies: Vec<String>,
    /// What the OpenAPI document does not allow.
    pub errors: Vec<RequestFault>,
}

impl Denial {
    pub(super) fn new(
        kind: DenialKind,
        phase: Phase,
        rule: Rule,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            kind,
            phase,
            rule,
            detail: detail.into(),
            reason: kind.as_str(),
            headers: Vec::new(),
            retry_after_s: None,
            violated_policies: Vec::new(),
            errors: Vec::new(),
        }
    }
}
