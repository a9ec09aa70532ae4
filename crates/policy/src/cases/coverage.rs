//! What cases have shown of each route, what is missing, and a case to paste for it.

use super::{
    FOLDER, Report,
    document::Step,
    expect::{Expectation, Key},
    token::Token,
};
use crate::{
    Count, Decision, DenialKind, Diagnostic, Mode, Outcome, Plan, RateLimit, Route, RouteAuth, Rule,
    Severity, SourceFile, diagnostic::code, framing, language,
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// What a case has shown of a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Proof {
    Permit,
    Deny,
    /// Denied for want of a good token.
    Token,
    /// Denied for want of this scope alone.
    Scope(String),
    /// Denied by the rule of this key, one that only this route has.
    Rule(String),
}

/// The route and what a step has shown of it: something that it expects, not something that merely happened.
pub(super) fn proofs(step: &Step, outcome: &Outcome) -> Vec<(String, Proof)> {
    let Some(route) = &outcome.route else {
        return Vec::new();
    };
    let rule = match &outcome.decision {
        Decision::Deny(denial) if names_reason(step) => Some(Proof::Rule(denial.rule.key().to_owned())),
        _ => None,
    };
    let shown = proof(route, step, outcome).into_iter().chain(rule);
    shown.map(|proof| (route.name.clone(), proof)).collect()
}

fn proof(route: &Route, step: &Step, outcome: &Outcome) -> Option<Proof> {
    let is_expected = step.expected.iter().any(Expectation::decides);
    match &outcome.decision {
        Decision::Permit(_) => Some(Proof::Permit).filter(|_| is_expected),
        Decision::Deny(denial) => match denial.kind {
            DenialKind::Unauthenticated => Some(Proof::Token).filter(|_| names_reason(step)),
            DenialKind::InsufficientScope => missing_scope(route, &step.request.token)
                .filter(|_| names_reason(step))
                .map(Proof::Scope),
            _ => Some(Proof::Deny).filter(|_| is_expected),
        },
        Decision::Respond(_) => None,
    }
}

/// `decision: deny` alone would also hold for a refusal of another kind, on a route that has become open.
fn names_reason(step: &Step) -> bool {
    let names = |expectation: &Expectation| matches!(expectation.key, Key::Status | Key::Phase | Key::Rule);
    step.expected.iter().any(names)
}

/// The scope that a token lacks, when it is only one: a token without any would not notice that one is asked no more.
fn missing_scope(route: &Route, token: &Token) -> Option<String> {
    let Token::Good { scopes, .. } = token else {
        return None;
    };
    let mut missing = route.scopes.iter().filter(|scope| !scopes.contains(scope));
    missing.next().filter(|_| missing.next().is_none()).cloned()
}

impl Report {
    /// A finding for every route that no case permits, and for every way in which a route must deny and no case says
    /// so: without a token, without one of its scopes, by its own `allow_from`, `client_certificate` and limits, or,
    /// where anyone may come, at all. It means something when every case has run and none has failed. `policies` are the files that `plan` was made of.
    #[must_use]
    pub fn untested(&self, plan: &Plan, policies: &[SourceFile]) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        for route in plan.routes() {
            for (wanted, case) in wanted(route).into_iter().chain(of_own_rules(plan, route)) {
                if !self.covered.contains(&(route.name.clone(), wanted.clone())) {
                    findings.push(finding(route, policies, &wanted, &case));
                }
            }
        }
        findings.sort_by(|a, b| (&a.file, a.line, a.code).cmp(&(&b.file, b.line, b.code)));
        findings
    }
}

/// What must be shown of a route, each with a case that does.
fn wanted(route: &Route) -> Vec<(Proof, String)> {
    let mut wanted = vec![(Proof::Permit, permit_case(route))];
    match &route.auth {
        RouteAuth::Anyone { .. } => wanted.extend(deny_case(route).map(|case| (Proof::Deny, case))),
        RouteAuth::Provider(provider) => {
            let (name, request) = (&route.name, addressed(route));
            let case = format!(
                "`{name}-needs-a-token: {{ request: {{ {request} }}, expect: {{ status: 401, route: {name} }} }}`"
            );
            wanted.push((Proof::Token, case));
            for scope in &route.scopes {
                let token = token(
                    &provider.name,
                    route.scopes.iter().filter(|other| *other != scope),
                );
                let words: String = scope
                    .chars()
                    .map(|letter| {
                        if letter.is_ascii_alphanumeric() {
                            letter
                        } else {
                            '-'
                        }
                    })
                    .collect();
                let case = format!(
                    "`{name}-needs-{words}: {{ request: {{ {request}{token} }}, expect: {{ status: 403, route: {name} }} }}`"
                );
                wanted.push((Proof::Scope(scope.clone()), case));
            }
        }
    }
    wanted
}

/// What must be shown of the rules that only this route has, as far as a case can.
fn of_own_rules(plan: &Plan, route: &Route) -> Vec<(Proof, String)> {
    let (name, request, token) = (&route.name, addressed(route), permitted_token(route));
    let denied = |what: &str, more: &str, rule: &Rule| {
        let key = rule.key();
        let case = format!(
            "`{name}-{what}: {{ request: {{ {request}{token}{more} }}, expect: {{ status: 403, rule: {key} }} }}`"
        );
        (Proof::Rule(key.to_owned()), case)
    };
    let outside = route.allow_from.as_ref().and_then(|from| {
        let client = ELSEWHERE.into_iter().find(|client| !from.contains(*client))?;
        Some(denied(
            "is-not-for-all",
            &format!(", client: \"{client}\""),
            &from.rule,
        ))
    });
    let certificate = route.client_certificate.as_ref();
    let certificate = certificate.map(|needed| denied("needs-a-certificate", "", &needed.rule));
    let limits = own_limits(plan, route).map(|limit| {
        let (key, most, limited) = (limit.rule.key(), limit.burst, &limit.name);
        let answered = match limit.count {
            Count::Requests => "",
            Count::Failures => ", answered: 401",
        };
        let case = format!(
            "`{name}-{limited}-are-limited: {{ request: {{ {request}{token}{answered} }}, steps: [{{ times: {most}, expect: {{ decision: permit }} }}, {{ expect: {{ status: 429, rule: {key} }} }}] }}`"
        );
        (Proof::Rule(key.to_owned()), case)
    });
    outside.into_iter().chain(certificate).chain(limits).collect()
}

/// Addresses of documentation (RFC 5737, RFC 3849): one of them is seldom in a list.
const ELSEWHERE: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 99)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 99)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x99)),
];

/// The limits of a route's own that refuse, and that a case can reach before another one.
fn own_limits<'p>(plan: &'p Plan, route: &'p Route) -> impl Iterator<Item = &'p Arc<RateLimit>> {
    let is_of_floor = |limit: &RateLimit| plan.floor.rate.iter().any(|floor| floor.name == limit.name);
    let is_reached = move |limit: &RateLimit| {
        let needed = limit.burst.saturating_add(1);
        let refuses = |other: &&Arc<RateLimit>| other.name != limit.name && other.mode == Mode::Enforce;
        let others = route.rates().filter(refuses);
        needed <= language::MOST_TIMES
            && others.into_iter().all(|other| {
                let cost = if is_of_floor(other) { route.cost } else { 1 };
                needed.saturating_mul(cost) <= other.burst
                    || (other.count, limit.count) == (Count::Failures, Count::Requests)
            })
    };
    route
        .rates()
        .filter(move |limit| !is_of_floor(limit) && limit.mode == Mode::Enforce && is_reached(limit))
}

fn finding(route: &Route, policies: &[SourceFile], wanted: &Proof, case: &str) -> Diagnostic {
    let file = route.rule.file().unwrap_or_default();
    let line = route.rule.line().unwrap_or_default();
    let name = &route.name;
    let (code, message, why) = match wanted {
        Proof::Permit => (
            code::NO_PERMIT_CASE,
            format!("no case permits `{name}`"),
            "an edit that closes this route would pass every test",
        ),
        Proof::Deny => (
            code::NO_DENY_CASE,
            format!("no case denies `{name}`"),
            "an edit that lifts every limit of this route would pass every test",
        ),
        Proof::Token => (
            code::NO_DENY_CASE,
            format!("no case denies requests without a token to `{name}`"),
            "an edit that opens this route to anyone would pass every test",
        ),
        Proof::Rule(rule) => (
            code::NO_DENY_CASE,
            format!("no case is denied by `{rule}`, for `{name}`"),
            "an edit that lifts it would pass every test",
        ),
        Proof::Scope(scope) => (
            code::NO_SCOPE_CASE,
            format!("no case denies tokens that lack only `{scope}` to `{name}`"),
            "an edit that asks for this scope no more would pass every test",
        ),
    };
    let tests = file.rsplit('/').next().unwrap_or(file);
    Diagnostic {
        code,
        severity: Severity::Error,
        file: file.to_owned(),
        line,
        column: column(policies, file, line),
        length: u32::try_from(name.len()).unwrap_or(1),
        message,
        why: why.to_owned(),
        fix: Some(format!("add to {FOLDER}/{tests}: {case}")),
        related: None,
    }
}

/// Where the name of a route stands in its line: after the blanks.
fn column(policies: &[SourceFile], file: &str, line: u32) -> u32 {
    let index = usize::try_from(line).ok().and_then(|line| line.checked_sub(1));
    let text = policies
        .iter()
        .find(|policy| policy.name == file)
        .zip(index)
        .and_then(|(policy, index)| policy.text.lines().nth(index));
    let blanks = text.map_or(0, |text| text.chars().take_while(|letter| *letter == ' ').count());
    u32::try_from(blanks).map_or(1, |blanks| blanks.saturating_add(1))
}

/// The method and the path of a request for a route, with a value for each parameter.
fn addressed(route: &Route) -> String {
    let path = route.path.replace(['{', '}'], "");
    format!("method: {}, path: {path}", route.method)
}

/// `, token: { … }` with these scopes.
fn token<'s>(provider: &str, scopes: impl Iterator<Item = &'s String>) -> String {
    let scopes: Vec<String> = scopes.map(|scope| format!("{scope:?}")).collect();
    format!(
        ", token: {{ provider: {provider}, subject: usr_1, scopes: [{}] }}",
        scopes.join(", ")
    )
}

/// A token that the route takes; nothing where anyone may come.
fn permitted_token(route: &Route) -> String {
    match &route.auth {
        RouteAuth::Anyone { .. } => String::new(),
        RouteAuth::Provider(provider) => token(&provider.name, route.scopes.iter()),
    }
}

fn permit_case(route: &Route) -> String {
    let name = &route.name;
    let token = permitted_token(route);
    format!(
        "`{name}-is-permitted: {{ request: {{ {}{token} }}, expect: {{ decision: permit, route: {name} }} }}`",
        addressed(route)
    )
}

/// What a route for anyone refuses: a large body, or, where no body may come, too many requests. `None` when it
/// refuses nothing that a case can send.
fn deny_case(route: &Route) -> Option<String> {
    let (name, request) = (&route.name, addressed(route));
    if framing::takes_body(route.method.as_str().as_bytes()) {
        return Some(format!(
            "`{name}-takes-no-large-body: {{ request: {{ {request}, size: {{ body: {}B }} }}, expect: {{ status: 413, route: {name} }} }}`",
            route.limits.body.saturating_add(1)
        ));
    }
    let limits = route.coarse.iter().filter(|limit| limit.count == Count::Requests);
    let most = limits.map(|limit| limit.burst).min()?;
    (most <= language::MOST_TIMES).then(|| {
        format!(
            "`{name}-is-limited: {{ request: {{ {request} }}, steps: [{{ times: {most}, expect: {{ decision: permit }} }}, {{ expect: {{ status: 429, route: {name} }} }}] }}`"
        )
    })
}
