//! What it means that a security header is added, gone or has another value.

use super::{Risk, judge::Judgement};
use crate::header_strength::strength;
use std::cmp::Ordering;

/// Headers that protect the people behind a browser: to lose one matters.
const PROTECTING: [&str; 10] = [
    "strict-transport-security",
    "content-security-policy",
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "permissions-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "cross-origin-embedder-policy",
    "cache-control",
];

/// What it means that a field is added, gone or has another value.
pub(super) fn judge(field: &str, old: Option<String>, new: Option<String>) -> Judgement {
    let protects = PROTECTING.contains(&field);
    match (old, new) {
        (Some(old), Some(new)) => match strength(field, &old.to_lowercase(), &new.to_lowercase()) {
            Some(Ordering::Less) => {
                let risk = if protects { Risk::High } else { Risk::Medium };
                Judgement::new(risk, format!("weaker {field}"))
            }
            Some(Ordering::Greater) => Judgement::new(Risk::Low, format!("stricter {field}")),
            Some(Ordering::Equal) => Judgement::new(
                Risk::Info,
                format!("{field} is written otherwise and means the same"),
            ),
            None => Judgement::new(Risk::Medium, format!("another {field}")),
        },
        (_, Some(_)) => Judgement::new(Risk::Low, format!("answers carry {field}")),
        (_, None) => {
            let risk = if protects { Risk::High } else { Risk::Medium };
            Judgement::new(risk, format!("answers carry no {field} any more"))
        }
    }
}
