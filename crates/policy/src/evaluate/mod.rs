//! Deciding one request: the fixed phases, one function each.
//!
//! **Invariant:** a [`Permit`] is made in one place only, after every phase has passed; everything that cannot
//! be decided ends as a [`Denial`].

mod access;
mod address;
mod charges;
mod confirm;
mod cors;
mod evidence;
mod framing;
mod outcome;
mod request;
mod validation;

pub(crate) use framing::head_bytes;

pub use evidence::{
    Charge, Charges, ClientCertificate, Evidence, LimitState, LimitStates, Principal, TokenFailure,
};
pub use outcome::{
    Action, Answer, Decision, Denial, DenialKind, Outcome, Paused, Permit, Phase, PhaseResult, PhaseTrace,
    Progress,
};
pub use request::{RequestHead, Scheme};

use outcome::ForwardTarget;

use crate::{
    path::{self, Target},
    plan::{Listener, Plan, Route, Rule},
    route_path::TwoReadings,
};
use http::{HeaderName, HeaderValue, Method, header};
use std::{borrow::Cow, sync::Arc};

/// Why evaluation ends before a permit.
type Stop = Box<Decision>;

/// Which route a request is for.
enum Found {
    Route(Arc<Route>),
    /// The path exists with other methods.
    OtherMethods(Vec<Arc<Route>>),
    Nothing,
}

/// Who asks, as far as the route wants to know.
#[derive(Debug)]
pub(crate) struct Caller {
    principal: Option<Arc<Principal>>,
    /// Which of the route's client names the certificate has.
    client_name: Option<usize>,
}

/// Where an evaluation goes on once the body is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// A limit is keyed by a part of it.
    SubjectLimits,
    /// Only its own form is left to look at: nobody's body is read who may not do this anyway.
    Validation,
}

/// State of one evaluation.
struct Evaluation<'e> {
    plan: &'e Plan,
    head: &'e RequestHead<'e>,
    evidence: &'e dyn Evidence,
    route: Option<Arc<Route>>,
    /// `None` when nobody will read it.
    trace: Option<Vec<PhaseTrace>>,
    limits: LimitStates,
    failure_charges: Vec<Charge>,
    /// Every charge of a request that a shared limit counts; most have none.
    unconfirmed: Vec<Charge>,
}

static RULE_LISTENER: Rule = Rule::of_language("language: listener");
static RULE_ROUTES: Rule = Rule::of_language("language: routes");
static RULE_PATH: Rule = Rule::of_language("language: path PA-1");
static RULE_IN_CLEAR: Rule = Rule::of_language("language: redirect RD-1");

/// Decides one request with its body, if it has one; `is_explained` keeps what each phase came to.
pub(crate) fn run(
    plan: &Plan,
    head: &RequestHead<'_>,
    evidence: &dyn Evidence,
    is_explained: bool,
) -> Outcome {
    match begin(plan, head, evidence, is_explained) {
        Progress::Decided(outcome) => outcome,
        Progress::NeedsBody(paused) => resume(plan, paused, head, evidence),
    }
}

/// Whether the matched route reads the body, and how much of it at most.
pub(crate) fn body_needed(plan: &Plan, head: &RequestHead<'_>) -> Option<u64> {
    if head.scheme == Scheme::Http {
        return None;
    }
    let target = path::target(head.target).ok()?;
    let Ok(Found::Route(route)) = find(plan, target.path, head.method) else {
        return None;
    };
    (charges::reads_body(&route) || validation::reads_body(&route)).then_some(route.limits.body)
}

/// Decides one request as far as its head goes.
pub(crate) fn begin(
    plan: &Plan,
    head: &RequestHead<'_>,
    evidence: &dyn Evidence,
    is_explained: bool,
) -> Progress {
    let mut evaluation = Evaluation {
        plan,
        head,
        evidence,
        route: None,
        trace: is_explained.then(|| Vec::with_capacity(Phase::ALL.len())),
        limits: LimitStates::new(),
        failure_charges: Vec::new(),
        unconfirmed: Vec::new(),
    };
    match evaluation.before_body() {
        Err(stop) => Progress::Decided(evaluation.ended(*stop)),
        Ok((route, caller, Some(next))) => Progress::NeedsBody(Paused {
            next,
            route,
            caller,
            limits: evaluation.limits,
            failure_charges: evaluation.failure_charges,
            unconfirmed: evaluation.unconfirmed,
            trace: evaluation.trace,
        }),
        Ok((route, caller, None)) => {
            let decision = evaluation.permit(route, caller).unwrap_or_else(|stop| *stop);
            Progress::Decided(evaluation.ended(decision))
        }
    }
}

/// Goes on with the body in `head`; without one there is no permit.
pub(crate) fn resume(
    plan: &Plan,
    paused: Paused,
    head: &RequestHead<'_>,
    evidence: &dyn Evidence,
) -> Outcome {
    let mut evaluation = Evaluation {
        plan,
        head,
        evidence,
        route: Some(Arc::clone(&paused.route)),
        trace: paused.trace,
        limits: paused.limits,
        failure_charges: paused.failure_charges,
        unconfirmed: paused.unconfirmed,
    };
    let decision = evaluation
        .with_body(paused.next, paused.route, paused.caller)
        .unwrap_or_else(|stop| *stop);
    evaluation.ended(decision)
}

/// The route for a canonical path; HEAD is answered where GET is (RFC 9110 §9.3.2).
fn find(plan: &Plan, path: &str, method: &str) -> Result<Found, TwoReadings> {
    let Some(routes) = plan.matcher.find(path)? else {
        return Ok(Found::Nothing);
    };
    let wanted = if method == "HEAD" { "GET" } else { method };
    let by_method = routes.iter().find(|(method, _)| method.as_str() == wanted);
    let route = |(_, index): &(Method, usize)| plan.routes.get(*index).map(Arc::clone);
    Ok(match by_method.and_then(route) {
        Some(route) => Found::Route(route),
        None => Found::OtherMethods(routes.iter().filter_map(route).collect()),
    })
}

impl<'e> Evaluation<'e> {
    /// Every phase that asks nothing of the body but its announced length, and which of the others needs it first.
    fn before_body(&mut self) -> Result<(Arc<Route>, Caller, Option<Next>), Stop> {
        let listener = self.connection()?;
        let host = self.framing()?;
        let (target, found) = self.path()?;
        self.address()?;
        self.coarse_limits()?;
        if self.head.scheme == Scheme::Http {
            return Err(self.in_clear(listener, host, target));
        }
        let route = self.matched(found)?;
        self.cors(&route)?;
        let client_name = self.client_certificate(&route)?;
        let principal = self.authentication(&route)?;
        self.body(&route)?;
        let caller = Caller {
            principal,
            client_name,
        };
        if charges::reads_body(&route) {
            return Ok((route, caller, Some(Next::SubjectLimits)));
        }
        self.before_validation(&route, &caller)?;
        let next = validation::reads_body(&route).then_some(Next::Validation);
        if next.is_none() {
            self.validated(&route);
        }
        Ok((route, caller, next))
    }

    /// The phases of the caller, and what a document says of the head.
    fn before_validation(&mut self, route: &Route, caller: &Caller) -> Result<(), Stop> {
        let principal = caller.principal.as_deref();
        self.subject_limits(route, principal)?;
        self.authorization(route, principal)?;
        self.validate_head(route)
    }

    fn with_body(&mut self, next: Next, route: Arc<Route>, caller: Caller) -> Result<Decision, Stop> {
        if next == Next::SubjectLimits {
            self.before_validation(&route, &caller)?;
        }
        self.validate_body(&route)?;
        self.validated(&route);
        self.permit(route, caller)
    }

    fn permit(&mut self, route: Arc<Route>, caller: Caller) -> Result<Decision, Stop> {
        let target = self.target()?;
        self.pass(Phase::Upstream, &route.rules.target, "goes where the route leads");
        self.pass(
            Phase::Headers,
            &route.headers.rule,
            "the answer carries this profile",
        );
        let Caller {
            principal,
            client_name,
        } = caller;
        Ok(Decision::Permit(Permit {
            route,
            target: ForwardTarget::new(target.path, target.query),
            principal,
            client_name,
            is_confirmed: self.unconfirmed.is_empty(),
        }))
    }

    fn ended(self, decision: Decision) -> Outcome {
        Outcome {
            decision,
            route: self.route,
            trace: self.trace.unwrap_or_default(),
            limits: self.limits,
            failure_charges: self.failure_charges,
            unconfirmed: self.unconfirmed,
        }
    }

    fn connection(&mut self) -> Result<&'e Listener, Stop> {
        let listener = self
            .plan
            .listeners
            .iter()
            .find(|listener| listener.name == self.head.listener);
        let Some(listener) = listener else {
            return Err(self.refuse(
                DenialKind::Unavailable,
                Phase::Connection,
                &RULE_LISTENER,
                "this listener is not part of the policy",
            ));
        };
        let rule = match (self.head.scheme, &listener.http) {
            (Scheme::Https, _) => &listener.https.rule,
            (Scheme::Http, Some(http)) => &http.rule,
            (Scheme::Http, None) => {
                return Err(self.refuse(
                    DenialKind::HttpsRequired,
                    Phase::Connection,
                    &listener.rule,
                    "this listener takes no request in clear",
                ));
            }
        };
        self.pass(Phase::Connection, rule, "known listener");
        Ok(listener)
    }

    /// Canonical path (PA-1 to PA-4) and the route for it. That no route matches is told only after the coarse
    /// limits, so that a scan of the paths is limited too.
    fn path(&mut self) -> Result<(Target<'e>, Found), Stop> {
        let target = self.target()?;
        if self.head.scheme == Scheme::Http {
            self.pass(
                Phase::Path,
                &RULE_PATH,
                "canonical; in clear no route is looked for",
            );
            return Ok((target, Found::Nothing));
        }
        // A preflight is for the route that it asks about.
        let method = cors::Preflight::of(self.head).map_or(self.head.method, |preflight| preflight.method);
        let Ok(found) = find(self.plan, target.path, method) else {
            return Err(self.refuse(
                DenialKind::MalformedRequest,
                Phase::Path,
                &RULE_PATH,
                "the path means something else once its escapes are decoded",
            ));
        };
        match &found {
            Found::Route(route) => {
                self.route = Some(Arc::clone(route));
                self.pass(Phase::Path, &route.rules.matched, "canonical and matched");
            }
            Found::OtherMethods(_) => self.pass(Phase::Path, &RULE_ROUTES, "canonical; another method"),
            Found::Nothing => self.pass(Phase::Path, &RULE_ROUTES, "canonical; no route"),
        }
        Ok((target, found))
    }

    fn target(&mut self) -> Result<Target<'e>, Stop> {
        path::target(self.head.target).map_err(|fault| {
            let rule = Rule::of_language(fault.rule);
            self.refuse(DenialKind::MalformedRequest, Phase::Path, &rule, fault.detail)
        })
    }

    /// The route, or 404 or 405.
    fn matched(&mut self, found: Found) -> Result<Arc<Route>, Stop> {
        match found {
            Found::Route(route) => Ok(route),
            Found::Nothing => Err(self.refuse(
                DenialKind::NotFound,
                Phase::Path,
                &RULE_ROUTES,
                "there is nothing here",
            )),
            Found::OtherMethods(routes) => Err(self.other_method(&routes)),
        }
    }

    /// 405 names what the path allows (RFC 9110 §15.5.6).
    fn other_method(&mut self, routes: &[Arc<Route>]) -> Stop {
        let mut allowed: Vec<&str> = routes.iter().map(|route| route.method.as_str()).collect();
        if allowed.contains(&"GET") {
            allowed.push("HEAD");
        }
        if routes.iter().any(|route| route.cors.is_some()) {
            allowed.push("OPTIONS");
        }
        allowed.sort_unstable();
        let rule = routes
            .first()
            .map_or_else(|| RULE_ROUTES.clone(), |route| route.rules.matched.clone());
        let mut denial = Denial::new(
            DenialKind::MethodNotAllowed,
            Phase::Path,
            rule,
            "this path does not take this method",
        );
        if let Ok(allow) = HeaderValue::from_str(&allowed.join(", ")) {
            denial.headers.push((header::ALLOW, allow));
        }
        self.deny(denial)
    }

    /// In clear the only answer is where HTTPS is, and that only for what carries nothing of value (RD-1).
    fn in_clear(&mut self, listener: &Listener, host: &str, target: Target<'_>) -> Stop {
        let rule = listener.http.as_ref().map_or(&RULE_IN_CLEAR, |http| &http.rule);
        let headers = self.head.headers;
        let has_credentials = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION]
            .iter()
            .any(|name| headers.contains_key(name));
        if has_credentials {
            return self.refuse(
                DenialKind::HttpsRequired,
                Phase::Upstream,
                rule,
                "credentials were sent in clear; treat them as known to others and use https",
            );
        }
        if !matches!(self.head.method, "GET" | "HEAD") {
            return self.refuse(DenialKind::HttpsRequired, Phase::Upstream, rule, "use https");
        }
        let port = match self.head.https_port {
            443 => String::new(),
            port => format!(":{port}"),
        };
        let query = target.query.map(|query| format!("?{query}")).unwrap_or_default();
        // RD-2: `host` is our own spelling from the allow-list, never what the client wrote.
        let location = format!("https://{host}{port}{}{query}", target.path);
        let Ok(location) = HeaderValue::from_str(&location) else {
            return self.refuse(
                DenialKind::MalformedRequest,
                Phase::Upstream,
                rule,
                "the target cannot be redirected",
            );
        };
        let headers = vec![(header::LOCATION, location)];
        self.answer(308, Phase::Upstream, rule, "redirected to https", headers)
    }

    fn pass(&mut self, phase: Phase, rule: &Rule, detail: &'static str) {
        self.record(phase, PhaseResult::Passed, rule, detail);
    }

    fn skip(&mut self, phase: Phase, rule: &Rule, detail: &'static str) {
        self.record(phase, PhaseResult::Skipped, rule, detail);
    }

    fn record(
        &mut self,
        phase: Phase,
        result: PhaseResult,
        rule: &Rule,
        detail: impl Into<Cow<'static, str>>,
    ) {
        if let Some(trace) = &mut self.trace {
            trace.push(PhaseTrace {
                phase,
                result,
                rule: rule.clone(),
                detail: detail.into(),
            });
        }
    }

    fn refuse(&mut self, kind: DenialKind, phase: Phase, rule: &Rule, detail: &'static str) -> Stop {
        self.deny(Denial::new(kind, phase, rule.clone(), detail))
    }

    fn answer(
        &mut self,
        status: u16,
        phase: Phase,
        rule: &Rule,
        detail: &'static str,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Stop {
        self.record(phase, PhaseResult::Answered, rule, detail);
        let rule = rule.clone();
        Box::new(Decision::Respond(Answer {
            status,
            phase,
            rule,
            headers,
        }))
    }

    fn deny(&mut self, denial: Denial) -> Stop {
        self.record(
            denial.phase,
            PhaseResult::Refused,
            &denial.rule,
            denial.detail.clone(),
        );
        Box::new(Decision::Deny(denial))
    }
}
