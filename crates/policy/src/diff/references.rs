//! Changes of what a route refers to: its provider, its profiles, its upstream. What counts is what they say.

use super::{
    Risk,
    judge::{Both, Comparison, Judgement},
};
use crate::describe::Value;
use std::cmp::Reverse;

type Values<'v> = (&'v Value, &'v Value);

/// Another `auth`.
pub(super) fn auth(comparison: &Comparison<'_>, values: Values<'_>, subject: &str) -> Judgement {
    match values {
        (Value::Reference(_), Value::Text(_)) => {
            Judgement::new(Risk::Critical, format!("anyone may call {subject}"))
        }
        (Value::Text(_), Value::Reference(_)) => {
            Judgement::new(Risk::Low, format!("{subject} needs a token of {}", values.1))
        }
        _ => other(comparison, values, subject),
    }
}

/// Another CORS profile, or none.
pub(super) fn cors(comparison: &Comparison<'_>, values: Values<'_>, subject: &str) -> Judgement {
    match values {
        (Value::Text(_), Value::Reference(profile)) => {
            let profile = comparison.new.find(profile);
            let origins = profile.map(|profile| profile.text("origins")).unwrap_or_default();
            let is_trusting = profile.is_some_and(|profile| profile.text("credentials") == "true");
            let risk = if is_trusting { Risk::High } else { Risk::Medium };
            Judgement::new(risk, format!("pages of {origins} may read answers of {subject}"))
        }
        (Value::Reference(_), Value::Text(_)) => Judgement::new(
            Risk::Low,
            format!("no page of another origin may read answers of {subject}"),
        ),
        _ => other(comparison, values, subject),
    }
}

/// Another definition of the same kind: as risky as the riskiest difference between the two.
pub(super) fn other(comparison: &Comparison<'_>, (old, new): Values<'_>, subject: &str) -> Judgement {
    let (Value::Reference(old), Value::Reference(new)) = (old, new) else {
        return Judgement::new(Risk::Medium, "another value");
    };
    let both = comparison.old.find(old).zip(comparison.new.find(new));
    let Some((before, after)) = both else {
        return Judgement::new(Risk::Medium, "another value");
    };
    let mut differences = differences(comparison, (before, after), subject);
    differences.sort_by_key(|difference| Reverse(difference.risk));
    let Some(worst) = differences.first().map(|worst| worst.risk) else {
        return Judgement::new(Risk::Info, "another name, the same content");
    };
    let words: Vec<&str> = differences
        .iter()
        .filter(|one| one.risk == worst)
        .map(|one| one.consequence.as_str())
        .collect();
    Judgement::new(worst, format!("{subject}: {}", words.join("; ")))
}

fn differences(comparison: &Comparison<'_>, (before, after): Both<'_>, subject: &str) -> Vec<Judgement> {
    let fresh = after
        .facts
        .iter()
        .filter(|fact| before.fact(&fact.name).is_none());
    before
        .facts
        .iter()
        .map(|fact| (Some(fact), after.fact(&fact.name)))
        .chain(fresh.map(|fact| (None, Some(fact))))
        .filter(|(old, new)| old.map(|fact| &fact.value) != new.map(|fact| &fact.value))
        .map(|facts| comparison.meaning((before, after), facts, subject))
        .collect()
}
