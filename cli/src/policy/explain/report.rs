//! What `portico policy explain` prints: every phase in its fixed order, the decision, and the line that made it.

use ::policy::{
    Decision, Mode, Outcome, Phase, PhaseResult, PhaseTrace, Plan, RateKey, RateLimit, RequestHead, Rule,
    Scheme, describe,
};
use serde_json::{Value, json};

use super::super::bundle::Bundle;
use super::log_line::LogLine;
use super::token::Token;

/// One explained request.
pub(super) struct Report<'a> {
    pub(super) bundle: &'a Bundle,
    pub(super) plan: &'a Plan,
    pub(super) head: &'a RequestHead<'a>,
    pub(super) token: Option<Token>,
    pub(super) log_line: Option<&'a LogLine>,
    /// What is supposed beside what was given.
    pub(super) remark: Option<String>,
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
        let (bundle, environment) = (self.bundle.in_words(), self.plan.environment());
        let (method, client) = (self.head.method.escape_debug(), self.head.client);
        let (host, target) = (self.head.host.escape_debug(), self.head.target.escape_debug());
        // What is no path must not look like a part of the host.
        let gap = if self.head.target.starts_with('/') {
            ""
        } else {
            " "
        };
        let mut text = vec![
            format!("bundle    {bundle} ({environment})"),
            format!("request   {method} {scheme}://{host}{gap}{target} from {client}"),
        ];
        if let Some(line) = self.log_line {
            text.extend(line.in_words(self.plan, self.evaluated));
        }
        text.extend(self.remark.iter().map(|remark| format!("remark    {remark}")));
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
                    let others = self.other_limits(step);
                    text.extend(others.map(|rule| format!("  {:<15} {:<11} {rule}", "", "")));
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
            let pace = describe::Value::Rate {
                limit: limit.limit,
                period: limit.period,
            };
            text.push(format!(
                "limit     {}: {pace}, burst {}{}  {}",
                limit.name,
                limit.burst,
                if limit.mode == Mode::Shadow {
                    ", shadow"
                } else {
                    ""
                },
                limit.rule
            ));
        }
        text.join("\n")
    }

    /// The lines of the limits that a phase has counted beside the one that it names.
    fn other_limits<'s>(&'s self, step: &'s PhaseTrace) -> impl Iterator<Item = &'s Rule> {
        let is_of_phase = move |limit: &RateLimit| {
            let is_coarse = limit
                .keys
                .iter()
                .all(|key| matches!(key, RateKey::Address { .. }));
            match step.phase {
                Phase::Limits => is_coarse,
                Phase::SubjectLimits => !is_coarse,
                _ => false,
            }
        };
        let limits = self.evaluated.limits.iter().map(|state| &*state.limit);
        let others = limits.filter(move |limit| step.result == PhaseResult::Passed && is_of_phase(limit));
        others.map(|limit| &limit.rule).filter(|rule| **rule != step.rule)
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
            "token": self.token.as_ref().map(Token::json), "trace": trace, "limits": limits, "remark": self.remark,
            "log_line": self.log_line.map(|line| line.json(self.plan, self.evaluated)),
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
