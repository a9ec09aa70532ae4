//! What `portico policy explain` prints: every phase in its fixed order, the decision, and the line that made it.

use std::path::Path;

use ::policy::{Decision, Outcome, Phase, PhaseTrace, Plan, RequestHead, Scheme};
use serde_json::{Value, json};

use super::token::Token;

/// One explained request.
pub(super) struct Report<'a> {
    pub(super) policies: &'a Path,
    pub(super) plan: &'a Plan,
    pub(super) head: &'a RequestHead<'a>,
    pub(super) token: Option<Token>,
    pub(super) evaluated: &'a Outcome,
}

/// A phase as it went, or one that the request did not come to.
enum Line<'a> {
    Reached(&'a PhaseTrace),
    NotReached(Phase),
}

impl Report<'_> {
    /// Every phase in order; those that the request jumped over or did not come to are named too.
    fn lines(&self) -> Vec<Line<'_>> {
        let trace = &self.evaluated.trace;
        let is_reached = |phase: Phase| trace.iter().any(|step| step.phase == phase);
        let mut missing = Phase::ALL
            .into_iter()
            .filter(|phase| !is_reached(*phase))
            .peekable();
        let mut lines = Vec::new();
        for step in trace {
            while let Some(phase) = missing.next_if(|phase| *phase < step.phase) {
                lines.push(Line::NotReached(phase));
            }
            lines.push(Line::Reached(step));
        }
        lines.extend(missing.map(Line::NotReached));
        lines
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let scheme = match self.head.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let (policies, environment) = (self.policies.display(), self.plan.environment());
        let (method, client) = (self.head.method.escape_debug(), self.head.client);
        let (host, target) = (self.head.host.escape_debug(), self.head.target.escape_debug());
        let mut text = vec![
            format!("bundle    {policies} ({environment})"),
            format!("request   {method} {scheme}://{host}{target} from {client}"),
        ];
        if let Some(token) = &self.token {
            let label = ["token"].into_iter().chain(std::iter::repeat(""));
            text.extend(
                label
                    .zip(token.lines())
                    .map(|(label, line)| format!("{label:<9} {line}")),
            );
        }
        text.push(String::new());
        for line in self.lines() {
            match line {
                Line::Reached(step) => {
                    let (phase, result) = (step.phase.as_str(), step.result.as_str());
                    text.push(format!("  {phase:<15} {result:<11} {}", step.rule));
                    text.push(format!("  {:<15} {:<11}   {}", "", "", step.detail));
                }
                Line::NotReached(phase) => text.push(format!("  {:<15} not reached", phase.as_str())),
            }
        }
        text.push(String::new());
        let (decision, rule) = self.decision();
        text.push(format!("decision  {decision}"));
        if let Some(rule) = rule {
            text.push(format!("rule      {rule}"));
        }
        if let Some(route) = &self.evaluated.route {
            let (name, method, path) = (&route.name, &route.method, &route.path);
            text.push(format!("route     {name} ({method} {path})"));
        }
        for state in &self.evaluated.limits {
            let limit = &state.limit;
            text.push(format!(
                "limit     {}: {} per {} s, burst {}  {}",
                limit.name,
                limit.limit,
                limit.period.as_secs(),
                limit.burst,
                limit.rule
            ));
        }
        text.join("\n")
    }

    /// The decision in words, and the line that made it.
    fn decision(&self) -> (String, Option<String>) {
        match &self.evaluated.decision {
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
            Decision::Respond(answer) => (format!("answer {}", answer.status), Some(answer.rule.to_string())),
        }
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let (decision, status, rule, detail) = match &self.evaluated.decision {
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
            Decision::Respond(answer) => (
                "answer",
                json!(answer.status),
                json!(answer.rule.to_string()),
                Value::Null,
            ),
        };
        let trace: Vec<Value> = self.lines().iter().map(Line::json).collect();
        let limits = self.evaluated.limits.iter();
        let limits: Vec<Value> = limits
            .map(|state| json!({"name": state.limit.name, "granted": state.granted, "rule": state.limit.rule.to_string()}))
            .collect();
        json!({
            "environment": self.plan.environment(), "bundle": self.plan.hash(), "decision": decision,
            "status": status, "rule": rule, "detail": detail,
            "route": self.evaluated.route.as_ref().map(|route| route.name.clone()),
            "token": self.token.as_ref().map(Token::json), "trace": trace, "limits": limits,
        })
    }
}

impl Line<'_> {
    fn json(&self) -> Value {
        match self {
            Self::Reached(step) => json!({
                "phase": step.phase.as_str(), "result": step.result.as_str(), "rule": step.rule.to_string(),
                "detail": step.detail,
            }),
            Self::NotReached(phase) => {
                json!({"phase": phase.as_str(), "result": "not_reached", "rule": null, "detail": null})
            }
        }
    }
}
