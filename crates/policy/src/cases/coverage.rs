//! Which routes have no case that permits, or none that denies, and a case to paste for each.

use super::{
    FOLDER, Report,
    expect::{DENY, PERMIT},
};
use crate::{Diagnostic, Plan, Route, RouteAuth, Severity, SourceFile, diagnostic::code};

impl Report {
    /// A finding for every route that no case permits, and for every route that no case denies. It means something when
    /// every case has run and none has failed. `policies` are the files that `plan` was made of.
    #[must_use]
    pub fn untested(&self, plan: &Plan, policies: &[SourceFile]) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        for route in plan.routes() {
            let has = |decision| self.covered.contains(&(route.name.clone(), decision));
            if !has(PERMIT) {
                findings.push(finding(route, policies, code::NO_PERMIT_CASE));
            }
            if !has(DENY) {
                findings.push(finding(route, policies, code::NO_DENY_CASE));
            }
        }
        findings.sort_by(|a, b| (&a.file, a.line, a.code).cmp(&(&b.file, b.line, b.code)));
        findings
    }
}

fn finding(route: &Route, policies: &[SourceFile], code: &'static str) -> Diagnostic {
    let file = route.rule.file().unwrap_or_default();
    let line = route.rule.line().unwrap_or_default();
    let name = &route.name;
    let (message, why, case) = if code == code::NO_PERMIT_CASE {
        (
            format!("no case permits `{name}`"),
            "an edit that closes this route would pass every test",
            permit_case(route),
        )
    } else {
        (
            format!("no case denies `{name}`"),
            match route.auth {
                RouteAuth::Anyone { .. } => {
                    "an edit that lifts every limit of this route would pass every test"
                }
                RouteAuth::Provider(_) => "an edit that opens this route to anyone would pass every test",
            },
            deny_case(route),
        )
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

fn permit_case(route: &Route) -> String {
    let name = &route.name;
    let token = match &route.auth {
        RouteAuth::Anyone { .. } => String::new(),
        RouteAuth::Provider(provider) => {
            let scopes: Vec<String> = route.scopes.iter().map(|scope| format!("{scope:?}")).collect();
            format!(
                ", token: {{ provider: {}, subject: usr_1, scopes: [{}] }}",
                provider.name,
                scopes.join(", ")
            )
        }
    };
    format!(
        "`{name}-is-permitted: {{ request: {{ {}{token} }}, expect: {{ decision: permit, route: {name} }} }}`",
        addressed(route)
    )
}

fn deny_case(route: &Route) -> String {
    let name = &route.name;
    let request = addressed(route);
    match &route.auth {
        RouteAuth::Provider(_) => format!(
            "`{name}-needs-a-token: {{ request: {{ {request} }}, expect: {{ status: 401, route: {name} }} }}`"
        ),
        RouteAuth::Anyone { .. } => format!(
            "`{name}-takes-no-large-body: {{ request: {{ {request}, size: {{ body: {}B }} }}, expect: {{ status: 413, route: {name} }} }}`",
            route.limits.body.saturating_add(1)
        ),
    }
}
