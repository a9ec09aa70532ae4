//! `portico policy explain`: one request through the evaluator that the gateway runs, with every phase shown.

use std::sync::Arc;
use std::time::Duration;

use ::policy::{
    Charge, Decision, Evidence, IdentityProvider, LimitState, LimitStates, Outcome as Evaluated, Plan,
    Principal, RequestHead, Scheme, TokenFailure,
};
use anyhow::Context as _;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Value, json};
use service_runtime::settings::variable;

use super::files;
use crate::arguments::{Format, PolicyExplainArguments};
use crate::{Outcome, Unreadable, output};

pub(crate) fn run(arguments: &PolicyExplainArguments) -> anyhow::Result<Outcome> {
    let files = files::read(&arguments.policies)?;
    let environment = arguments
        .env
        .clone()
        .or_else(|| variable("APP_ENV"))
        .filter(|name| !name.is_empty());
    let environment = environment.unwrap_or_else(|| "production".to_owned());
    let plan = match ::policy::compile(&files, &environment) {
        Ok(plan) => plan,
        Err(findings) => {
            output::line(::policy::render::human(&findings, &files).trim_end());
            output::line("\nthe policy has findings, so it decides nothing");
            return Ok(Outcome::Findings);
        }
    };
    let headers = headers(arguments)?;
    let listener = match &arguments.listener {
        Some(name) => plan.listeners().iter().find(|listener| listener.name == *name),
        None => plan.listeners().first(),
    };
    let listener = listener.ok_or_else(|| Unreadable("the policy has no such listener".to_owned()))?;
    let host = match &arguments.host {
        Some(host) => host.clone(),
        None => plan.hosts().first().context("the policy names no host")?.clone(),
    };
    let mut head = RequestHead {
        listener: &listener.name,
        scheme: if arguments.http {
            Scheme::Http
        } else {
            Scheme::Https
        },
        method: &arguments.method,
        target: &arguments.path,
        host: &host,
        headers: &headers,
        client: arguments.client,
        body: None,
        https_port: listener.https.bind.port(),
    };
    if plan.body_needed(&head).is_some() {
        head.body = Some(arguments.body.as_deref().unwrap_or("{}").as_bytes());
    }
    let evaluated = plan.explain(
        &head,
        &Supposed {
            arguments,
            plan: &plan,
        },
    );
    check_exhausted(arguments, &evaluated)?;
    match arguments.format {
        Format::Human => output::line(&as_text(arguments, &host, &environment, &evaluated)),
        Format::Json => output::line(&serde_json::to_string_pretty(&as_json(
            &environment,
            &plan,
            &evaluated,
        ))?),
    }
    Ok(Outcome::Done)
}

/// A limit that is said to be used up must be one that this request meets: a typo would be read as “within limits”.
fn check_exhausted(
    arguments: &PolicyExplainArguments,
    evaluated: &::policy::Outcome,
) -> Result<(), Unreadable> {
    let named = arguments.exhausted.as_deref().unwrap_or_default();
    let met: Vec<&str> = evaluated
        .limits
        .iter()
        .map(|state| state.limit.name.as_str())
        .collect();
    if named.is_empty() || met.contains(&named) {
        return Ok(());
    }
    Err(Unreadable(format!(
        "--exhausted={named}: this request meets no such limit, only: {}",
        met.join(", ")
    )))
}

fn headers(arguments: &PolicyExplainArguments) -> Result<HeaderMap, Unreadable> {
    let mut headers = HeaderMap::new();
    for line in &arguments.headers {
        let wrong = || Unreadable(format!("--header `{line}`: write `Name: value`"));
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        headers.append(name, HeaderValue::from_str(value.trim()).map_err(|_| wrong())?);
    }
    if arguments.subject.is_some() && !headers.contains_key(header::AUTHORIZATION) {
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer supposed"));
    }
    Ok(headers)
}

/// What a pure function cannot know, as the options suppose it.
struct Supposed<'a> {
    arguments: &'a PolicyExplainArguments,
    plan: &'a Plan,
}

impl Evidence for Supposed<'_> {
    fn authenticate(
        &self,
        _provider: &IdentityProvider,
        _token: &str,
    ) -> Result<Arc<Principal>, TokenFailure> {
        match &self.arguments.subject {
            Some(subject) => Ok(Arc::new(Principal {
                subject: subject.clone(),
                session: None,
                tenant: None,
                scopes: self.arguments.scopes.clone(),
            })),
            None => Err(TokenFailure::Refused(
                "no --subject says whom the token speaks for",
            )),
        }
    }

    fn charge(&self, charges: &[Charge]) -> LimitStates {
        charges.iter().map(|charge| self.state(charge)).collect()
    }
}

impl Supposed<'_> {
    fn state(&self, charge: &Charge) -> LimitState {
        let limit = charge.limit.clone();
        let is_of_floor = self
            .plan
            .floor()
            .rate
            .iter()
            .any(|floor| floor.name == limit.name);
        let granted = match self.arguments.exhausted.as_deref() {
            None => true,
            Some("") => is_of_floor,
            Some(name) => name != limit.name,
        };
        let (remaining, retry_after) = if granted {
            (limit.burst.saturating_sub(1), Duration::ZERO)
        } else {
            (
                0,
                limit.period / u32::try_from(limit.limit).unwrap_or(u32::MAX).max(1),
            )
        };
        LimitState {
            limit,
            granted,
            remaining,
            reset: retry_after,
            retry_after,
        }
    }
}

fn as_text(
    arguments: &PolicyExplainArguments,
    host: &str,
    environment: &str,
    evaluated: &Evaluated,
) -> String {
    let scheme = if arguments.http { "http" } else { "https" };
    let mut lines = vec![
        format!("bundle    {} ({environment})", arguments.policies.display()),
        format!(
            "request   {} {scheme}://{host}{} from {}",
            arguments.method, arguments.path, arguments.client
        ),
        String::new(),
    ];
    lines.push(::policy::render::trace(&evaluated.trace));
    let (decision, rule) = decision(evaluated);
    lines.push(format!("decision  {decision}"));
    if let Some(rule) = rule {
        lines.push(format!("rule      {rule}"));
    }
    if let Some(route) = &evaluated.route {
        lines.push(format!(
            "route     {} ({} {})",
            route.name, route.method, route.path
        ));
    }
    for state in &evaluated.limits {
        let limit = &state.limit;
        lines.push(format!(
            "limit     {}: {} per {} s, burst {}  {}",
            limit.name,
            limit.limit,
            limit.period.as_secs(),
            limit.burst,
            limit.rule
        ));
    }
    lines.join("\n")
}

/// The decision in words, and the line that made it.
fn decision(evaluated: &Evaluated) -> (String, Option<String>) {
    match &evaluated.decision {
        Decision::Permit(permit) => (
            format!("permit, as {}", permit.canonical_path()),
            Some(permit.route().rule.to_string()),
        ),
        Decision::Deny(denial) => (
            format!(
                "deny with {} {}: {}",
                denial.kind.status(),
                denial.kind.as_str(),
                denial.detail
            ),
            Some(denial.rule.to_string()),
        ),
        Decision::Respond(answer) => (format!("answer {}", answer.status), None),
    }
}

fn as_json(environment: &str, plan: &Plan, evaluated: &Evaluated) -> Value {
    let (decision, status, rule, detail) = match &evaluated.decision {
        Decision::Permit(permit) => (
            "permit",
            Value::Null,
            json!(permit.route().rule.to_string()),
            Value::Null,
        ),
        Decision::Deny(denial) => (
            "deny",
            json!(denial.kind.status()),
            json!(denial.rule.to_string()),
            json!(denial.detail),
        ),
        Decision::Respond(answer) => ("respond", json!(answer.status), Value::Null, Value::Null),
    };
    let trace: Vec<Value> = evaluated
        .trace
        .iter()
        .map(|step| {
            json!({"phase": step.phase.as_str(), "result": step.result.as_str(), "rule": step.rule.to_string(),
                   "detail": step.detail})
        })
        .collect();
    let limits: Vec<Value> = evaluated
        .limits
        .iter()
        .map(|state| json!({"name": state.limit.name, "granted": state.granted, "rule": state.limit.rule.to_string()}))
        .collect();
    json!({
        "environment": environment, "bundle": plan.hash(), "decision": decision, "status": status, "rule": rule,
        "detail": detail, "route": evaluated.route.as_ref().map(|route| route.name.clone()),
        "trace": trace, "limits": limits,
    })
}
