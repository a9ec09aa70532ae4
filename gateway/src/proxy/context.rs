//! What is known of a request, from its first phase to its log line.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, StatusCode};
use pingora::{Error, ErrorSource};
use policy::{Charge, Decision, Outcome, Permit, Route, Rule};

use super::compress::{Coding, Encoder};
use super::kept::Kept;
use super::phases::Phases;
use crate::cache::Change;
use crate::connection::caps::NamedPlace;
use crate::connection::framing::Refusal;
use crate::connection::{Connection, field_of};
use crate::identity::Identity;
use crate::metrics::METRICS;
use crate::personal_data::{Client, Name, Path, Personal, PersonalData};
use crate::policy_source::Snapshot;
use crate::rate_limit::Reserved;
use crate::tokens::AcceptedToken;
use crate::upstreams::{Attempt, Endpoint, Way};

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It ended before the policy was asked, or never reached it.
    Undecided,
    /// A rule of HTTP itself refused it.
    Refused,
    /// The policy refused it.
    Denied,
    /// The gateway answered without a body: redirect or preflight.
    Answered,
    /// The policy let it through.
    Permitted,
}

impl Verdict {
    /// The word for the access log.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Undecided => "undecided",
            Self::Refused => "refused",
            Self::Denied => "deny",
            Self::Answered => "answer",
            Self::Permitted => "permit",
        }
    }
}

/// The state of one request.
pub(crate) struct RequestContext {
    /// The policy that holds for the whole request, however often it is replaced meanwhile.
    pub(crate) snapshot: Arc<Snapshot>,
    /// `None` only when something calls the proxy past our own loops: then nothing is permitted.
    pub(crate) connection: Option<Arc<Connection>>,
    identity: OnceLock<Identity>,
    /// The client that a trusted proxy says the request is of (AD-2), also as a field value.
    announced: Option<(IpAddr, HeaderValue)>,
    /// Its place among the requests under way; others have theirs by their connection.
    place: Option<NamedPlace>,
    pub(crate) verdict: Verdict,
    pub(crate) route: Option<Arc<Route>>,
    /// The rule of the policy that decided.
    pub(crate) rule: Option<Rule>,
    /// The rule of HTTP that refused, or a word for what failed.
    pub(crate) reason: Option<&'static str>,
    /// The canonical path once it is known, else what a client sent, shortened.
    pub(crate) path: String,
    /// The `Origin` of the request.
    pub(crate) origin: Option<String>,
    /// `RateLimit` and `RateLimit-Policy`.
    pub(crate) limit_fields: Option<(HeaderValue, HeaderValue)>,
    /// Whether the final answer came from the upstream, and with what status.
    pub(crate) upstream_status: Option<StatusCode>,
    pub(crate) upstream_connected: bool,
    /// Whether TLS with an address of the upstream failed.
    pub(crate) upstream_tls_failed: bool,
    /// Whether the client asked for a WebSocket.
    pub(crate) wants_websocket: bool,
    /// The request on its way to an address.
    pub(crate) attempt: Option<Attempt>,
    /// The connection of its last attempt, where that is in clear.
    pub(crate) way: Option<Arc<Way>>,
    /// Addresses that failed this request.
    pub(crate) failed: Vec<Arc<Endpoint>>,
    /// The address of its last attempt.
    pub(crate) address: Option<Arc<Endpoint>>,
    /// Attempts that were begun.
    pub(crate) attempts: u32,
    /// Further attempts that the policy allowed.
    pub(crate) further: u32,
    /// How long the breaker of the upstream stays open.
    pub(crate) breaker_open: Option<Duration>,
    pub(crate) upstream_started: Option<Instant>,
    pub(crate) upstream_time: Option<Duration>,
    pub(super) phases: Phases,
    pub(crate) body_bytes: u64,
    pub(crate) body_started: Option<Instant>,
    /// What limits on failures have reserved on this gateway for this request.
    pub(crate) failure_charges: Vec<Charge>,
    /// What they have reserved in the store.
    pub(crate) reserved: Reserved,
    /// When the first limit was charged.
    pub(crate) charged: Instant,
    /// Limits in shadow mode that would have refused.
    pub(crate) would_deny: Vec<String>,
    pub(crate) started: Instant,
    /// How it stands with what is kept, on a route with `cache`.
    pub(super) kept: Option<Box<Kept>>,
    /// What may be changed by it, until the upstream has answered.
    pub(super) change: Option<Change>,
    /// What the client takes, on a route with `compress`.
    pub(super) coding: Option<Coding>,
    /// What compresses the answer.
    pub(super) encoder: Option<Encoder>,
    /// The token that let it in.
    pub(crate) token: OnceLock<Arc<AcceptedToken>>,
    permit: Option<Permit>,
}

impl RequestContext {
    pub(crate) fn new(snapshot: Arc<Snapshot>, connection: Option<Arc<Connection>>) -> Self {
        let head = connection.as_ref().and_then(|connection| connection.head_time());
        let now = Instant::now();
        Self {
            snapshot,
            connection,
            identity: OnceLock::new(),
            announced: None,
            place: None,
            verdict: Verdict::Undecided,
            route: None,
            rule: None,
            reason: None,
            path: String::new(),
            origin: None,
            limit_fields: None,
            upstream_status: None,
            upstream_connected: false,
            upstream_tls_failed: false,
            wants_websocket: false,
            attempt: None,
            way: None,
            failed: Vec::new(),
            address: None,
            attempts: 0,
            further: 0,
            breaker_open: None,
            upstream_started: None,
            upstream_time: None,
            phases: Phases::after(head),
            body_bytes: 0,
            body_started: None,
            failure_charges: Vec::new(),
            reserved: Reserved::default(),
            charged: now,
            would_deny: Vec::new(),
            started: now,
            kept: None,
            change: None,
            coding: None,
            encoder: None,
            token: OnceLock::new(),
            permit: None,
        }
    }

    /// Takes over the names that came with the request, before anything is said of it.
    pub(crate) fn identify(&self, headers: &HeaderMap) {
        self.identity.get_or_init(|| Identity::of(headers));
    }

    /// Takes over which client the request is of, from a proxy that is trusted with that, and a place for it.
    ///
    /// # Errors
    /// When that client has too many requests under way.
    pub(crate) fn announce(&mut self, headers: &HeaderMap) -> Result<(), Refusal> {
        let connection = self.connection.as_ref();
        self.announced = connection.and_then(|connection| {
            let lines = headers.get_all("x-forwarded-for").into_iter();
            let lines = lines.map(|line| line.to_str().ok());
            let client = connection.relays.as_ref()?.client_of(connection.client, lines);
            Some((client, field_of(client)))
        });
        if let (Some(connection), Some((client, _))) = (connection, &self.announced) {
            self.place = Some(connection.place_of(*client)?);
        }
        Ok(())
    }

    /// The client; `None` when something calls the proxy past our own loops.
    pub(crate) fn client(&self) -> Option<IpAddr> {
        let announced = self.announced.as_ref().map(|(client, _)| *client);
        announced.or(Some(self.connection.as_ref()?.client))
    }

    /// The same, as a field value.
    pub(crate) fn client_field(&self) -> Option<&HeaderValue> {
        let announced = self.announced.as_ref().map(|(_, field)| field);
        announced.or(Some(&self.connection.as_ref()?.client_field))
    }

    /// The names of the request; new ones when its head was never looked at.
    pub(crate) fn identity(&self) -> &Identity {
        self.identity.get_or_init(Identity::unknown)
    }

    /// Keeps what evaluation said beside the decision, which it hands back.
    pub(crate) fn note(&mut self, outcome: Outcome) -> Decision {
        let shadows = outcome
            .limits
            .iter()
            .filter(|state| !state.granted && !state.refuses());
        self.would_deny = shadows.map(|state| state.limit.name.clone()).collect();
        self.limit_fields = outcome
            .tightest()
            .map(|state| (state.rate_limit_field(), state.policy_field()));
        self.route = outcome.route;
        self.failure_charges = outcome.failure_charges;
        outcome.decision
    }

    /// Keeps the permit: from here on the request may be forwarded.
    pub(crate) fn permit(&mut self, permit: Permit) {
        self.verdict = Verdict::Permitted;
        self.rule = Some(permit.route().rule.clone());
        permit.canonical_path().clone_into(&mut self.path);
        self.route = Some(permit.route().clone());
        self.permit = Some(permit);
    }

    /// The permit, or the error that ends a request without one.
    pub(crate) fn permitted(&self) -> pingora::Result<&Permit> {
        self.permit
            .as_ref()
            .filter(|permit| permit.is_confirmed())
            .ok_or_else(|| {
                METRICS.missing_permits.inc();
                self.identity()
                    .in_scope(|| tracing::error!("a request without a permit reached forwarding"));
                Error::explain(pingora::ErrorType::InternalError, "no permit")
            })
    }

    pub(crate) const fn permit_at_end(&self) -> Option<&Permit> {
        self.permit.as_ref()
    }

    /// The client, for a log.
    pub(crate) fn personal_client(&self) -> Option<Personal<Client<'_>>> {
        let client = self.client()?;
        Some(Personal((client, self.client_field()?)))
    }

    /// The path, for a log.
    pub(crate) fn personal_path(&self) -> Personal<Path<'_>> {
        Personal((&self.path, self.route.as_deref()))
    }

    /// The first name of the client's certificate, verified in the handshake, for a log.
    pub(crate) fn personal_certificate(&self) -> Option<Personal<Name<'_>>> {
        let tls = self.connection.as_ref()?.tls.as_ref()?;
        tls.client.as_ref()?.name().map(Personal)
    }

    /// The subject of the token, for a log.
    pub(crate) fn personal_subject(&self) -> Option<Personal<Name<'_>>> {
        let principal = self.permit.as_ref()?.principal()?;
        Some(Personal(principal.subject.as_str()))
    }

    /// How much a log tells of persons.
    pub(crate) fn personal_data(&self) -> PersonalData {
        let connection = self.connection.as_ref();
        connection.map_or(PersonalData::Reduced, |connection| {
            connection.entrance.personal_data
        })
    }

    /// The upstream has answered: its time is known.
    pub(crate) fn upstream_answered(&mut self, status: StatusCode) {
        self.upstream_status = Some(status);
        self.upstream_time = self.upstream_started.map(|started| started.elapsed());
    }

    /// Whether a limit that counts failures keeps its unit: the upstream refused, or the client left before it could
    /// be seen whether the upstream would have.
    pub(crate) fn counts_as_failure(&self, error: Option<&Error>) -> bool {
        match self.upstream_status {
            Some(status) => policy::is_failure(status.as_u16()),
            None => error.is_some_and(|error| *error.esource() == ErrorSource::Downstream),
        }
    }
}
