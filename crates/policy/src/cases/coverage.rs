//! What cases have shown of each route, what is missing, and a case to paste for it.

use super::{
    FOLDER, Report,
    document::Step,
    expect::{Expectation, Key},
    token::Token,
};
use crate::{
    Count, Decision, DenialKind, Diagnostic, Outcome, Plan, Route, RouteAuth, Severity, SourceFile,
    diagnostic::code, framing, language,
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
}

/// The route and what a step has shown of it: something that it expects, not something that merely happened.
pub(super) fn proof(step: &Step, outcome: &Outcome) -> Option<(String, Proof)> {
    let route = outcome.route.as_ref()?;
    let is_expected = step.expected.iter().any(Expectation::decides);
    let proof = match &outcome.decision {
        Decision::Permit(_) => Some(Proof::Permit).filter(|_| is_expected),
        Decision::Deny(denial) => match denial.kind {
            DenialKind::Unauthenticated => Some(Proof::Token).filter(|_| names_reason(step)),
            DenialKind::InsufficientScope => missing_scope(route, &step.request.token)
                .filter(|_| names_reason(step))
                .map(Proof::Scope),
            _ => Some(Proof::Deny).filter(|_| is_expected),
        },
        Decision::Respond(_) => None,
    };
    Some((route.name.clone(), proof?))
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
    /// so: without a token, without one of its scopes, or, where anyone may come, at all. It means something when
    /// every case has run and none has failed. `policies` are the files that `plan` was made of.
    #[must_use]
    pub fn untested(&self, plan: &Plan, policies: &[SourceFile]) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        for route in plan.routes() {
            for (wanted, case) in wanted(route) {
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

fn permit_case(route: &Route) -> String {
    let name = &route.name;
    let token = match &route.auth {
        RouteAuth::Anyone { .. } => String::new(),
        RouteAuth::Provider(provider) => token(&provider.name, route.scopes.iter()),
    };
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
