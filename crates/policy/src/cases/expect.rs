//! What a case expects of a decision: only what is named is compared.

use crate::{
    Phase,
    diagnostic::{Findings, Span, code},
    language,
    read::{At, Field, Mapping, header_name},
};
use http::HeaderName;

/// One expectation. Everything is compared as text, as a report shows it.
#[derive(Debug, Clone)]
pub(super) struct Expectation {
    pub(super) key: Key,
    pub(super) value: String,
    pub(super) at: Span,
}

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Decision,
    Status,
    Phase,
    Rule,
    Route,
    Upstream,
    Serve,
    Path,
    Violated,
    Header(HeaderName),
}

/// In place of a header's value: it must not be there.
pub(super) const ABSENT: &str = "absent";
/// In place of a header's value: it must be there, whatever it says.
pub(super) const PRESENT: &str = "present";

pub(super) const PERMIT: &str = "permit";
pub(super) const DENY: &str = "deny";
pub(super) const ANSWER: &str = "answer";

impl Key {
    /// As it is written.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Decision => "decision",
            Self::Status => "status",
            Self::Phase => "phase",
            Self::Rule => "rule",
            Self::Route => "route",
            Self::Upstream => "upstream",
            Self::Serve => "serve",
            Self::Path => "path",
            Self::Violated => "violated",
            Self::Header(name) => name.as_str(),
        }
    }
}

impl Expectation {
    /// Whether it tells a permit from a refusal.
    pub(super) fn decides(&self) -> bool {
        self.decisions() == [PERMIT] || !self.decisions().contains(&PERMIT)
    }

    /// The decisions that it can hold for.
    pub(super) fn decisions(&self) -> &[&str] {
        match self.key {
            Key::Decision if self.value == PERMIT => &[PERMIT],
            Key::Decision if self.value == DENY => &[DENY],
            Key::Decision => &[ANSWER],
            Key::Upstream | Key::Serve | Key::Path => &[PERMIT],
            Key::Status | Key::Phase => &[DENY, ANSWER],
            Key::Violated => &[DENY],
            Key::Rule | Key::Route | Key::Header(_) => &[PERMIT, DENY, ANSWER],
        }
    }
}

/// Reads `expect`.
pub(super) fn read(field: &Field<'_>, findings: &mut Findings) -> Vec<Expectation> {
    let mut expectations = Vec::new();
    let Some(expect) = Mapping::open(field, language::CASE_EXPECT, findings) else {
        return expectations;
    };
    let phases = Phase::ALL.map(|phase| (phase.as_str(), phase.as_str()));
    let decisions = [PERMIT, DENY, ANSWER].map(|word| (word, word));
    let served = ["jwks", "live", "ready"].map(|word| (word, word));
    for (key, name) in [
        (Key::Decision, "decision"),
        (Key::Status, "status"),
        (Key::Phase, "phase"),
        (Key::Rule, "rule"),
        (Key::Route, "route"),
        (Key::Upstream, "upstream"),
        (Key::Serve, "serve"),
        (Key::Path, "path"),
        (Key::Violated, "violated"),
    ] {
        let Some(field) = expect.optional(name) else {
            continue;
        };
        let value = match key {
            Key::Decision => word(&field, &decisions, findings),
            Key::Phase => word(&field, &phases, findings),
            Key::Serve => word(&field, &served, findings),
            Key::Status => field.number(200..=599, findings).map(|status| text(&status)),
            Key::Violated => violated(&field, findings),
            Key::Rule | Key::Route | Key::Upstream | Key::Path | Key::Header(_) => field.text(findings),
        };
        expectations.extend(value.map(|value| Expectation {
            key,
            value: value.value,
            at: value.at,
        }));
    }
    if let Some(field) = expect.optional("headers") {
        headers(&field, &mut expectations, findings);
    }
    expectations
}

fn text<T: ToString>(value: &At<T>) -> At<String> {
    At {
        value: value.value.to_string(),
        at: value.at,
    }
}

fn word(field: &Field<'_>, words: &[(&str, &str)], findings: &mut Findings) -> Option<At<String>> {
    field.choice(words, findings).map(|word| text(&word))
}

/// Names of limits in one text, sorted: their order says nothing.
fn violated(field: &Field<'_>, findings: &mut Findings) -> Option<At<String>> {
    let names = field.list(findings, Field::text)?;
    let mut names: Vec<String> = names.into_iter().map(|name| name.value).collect();
    names.sort_unstable();
    Some(At {
        value: names.join(", "),
        at: field.node.at,
    })
}

fn headers(field: &Field<'_>, expectations: &mut Vec<Expectation>, findings: &mut Findings) {
    for (name, field) in field.pairs(findings) {
        let (name, value) = (header_name(&name, findings), field.header_value(findings));
        let Some((name, value)) = name.zip(value) else {
            continue;
        };
        expectations.push(Expectation {
            key: Key::Header(name),
            value: String::from_utf8_lossy(value.value.as_bytes()).into_owned(),
            at: value.at,
        });
    }
}

/// What a step expects: what it says itself, and what its case says for all steps.
pub(super) fn merged(of_case: &[Expectation], own: Vec<Expectation>) -> Vec<Expectation> {
    let mut merged = own;
    for expectation in of_case {
        if merged.iter().all(|own| own.key != expectation.key) {
            merged.push(expectation.clone());
        }
    }
    merged
}

/// Two expectations that no decision can meet.
pub(super) fn refuse_contradictions(expectations: &[Expectation], findings: &mut Findings) {
    let mut rest = expectations.iter();
    while let Some(one) = rest.next() {
        let excluded = |other: &&Expectation| {
            one.decisions()
                .iter()
                .all(|decision| !other.decisions().contains(decision))
        };
        if let Some(other) = rest.clone().find(excluded) {
            let names = (one.key.as_str(), other.key.as_str());
            findings
                .error(
                    code::EXPECTS_BOTH,
                    one.at,
                    format!("`{}` and `{}` exclude each other here", names.0, names.1),
                )
                .why("`upstream`, `serve` and `path` are of a permit, `status` and `phase` of a refusal or an answer, and `violated` is of a refusal")
                .fix("keep one of them")
                .related(other.at, "the other one is here");
            return;
        }
    }
}
