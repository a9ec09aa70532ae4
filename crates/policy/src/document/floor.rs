//! `floor`: what applies to every request; routes can only be tighter.

use super::rates::{self, RateDocument};
use crate::{
    diagnostic::Findings,
    read::{At, Field, Mapping, Named},
};
use std::time::Duration;

const LONGEST: Duration = Duration::from_mins(5);
const LARGEST_BODY: u64 = 64 * 1_048_576;
const LARGEST_HEAD: u64 = 64 * 1_024;
const MOST_HEADERS: u64 = 200;

/// The floor as written.
#[derive(Debug, Clone)]
pub(crate) struct FloorDocument {
    pub(crate) limits: LimitsDocument,
    pub(crate) head_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) rates: Vec<Named<RateDocument>>,
    pub(crate) headers: At<String>,
}

/// Sizes: of the floor (all) or of a route (those it tightens).
#[derive(Debug, Clone, Default)]
pub(crate) struct LimitsDocument {
    pub(crate) head: Option<At<u64>>,
    pub(crate) headers: Option<At<u64>>,
    pub(crate) target: Option<At<u64>>,
    pub(crate) body: Option<At<u64>>,
}

impl FloorDocument {
    /// Reads the floor.
    pub(crate) fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        let floor = Mapping::open(field, &["limits", "timeouts", "rate", "headers"], findings)?;
        let limits = floor
            .required(
                "limits",
                "limits: { head: 16KiB, headers: 64, target: 8KiB, body: 256KiB }",
                findings,
            )
            .and_then(|field| LimitsDocument::read(&field, true, findings));
        let timeouts = floor
            .required("timeouts", "timeouts: { head: 5s, body: 15s }", findings)
            .and_then(|field| timeouts(&field, findings));
        let rates = floor
            .required(
                "rate",
                "rate: { per-address: { limit: 100/min, burst: 100, key: [address] } }",
                findings,
            )
            .map(|field| rates::read(&field, findings));
        let headers = floor
            .required("headers", "headers: api", findings)
            .and_then(|field| field.text(findings));
        let (head_timeout, body_timeout) = timeouts?;
        Some(Self {
            limits: limits?,
            head_timeout,
            body_timeout,
            rates: rates?,
            headers: headers?,
        })
    }
}

impl LimitsDocument {
    /// Reads sizes; `complete` asks for all four.
    pub(crate) fn read(field: &Field<'_>, complete: bool, findings: &mut Findings) -> Option<Self> {
        let limits = Mapping::open(field, &["head", "headers", "target", "body"], findings)?;
        let key = |key: &str, example: &str, findings: &mut Findings| {
            if complete {
                limits.required(key, example, findings)
            } else {
                limits.optional(key)
            }
        };
        let head = key("head", "head: 16KiB", findings).map(|field| field.size(LARGEST_HEAD, findings));
        let headers =
            key("headers", "headers: 64", findings).map(|field| field.number(1..=MOST_HEADERS, findings));
        let target = key("target", "target: 8KiB", findings).map(|field| field.size(LARGEST_HEAD, findings));
        let body = key("body", "body: 256KiB", findings).map(|field| field.size(LARGEST_BODY, findings));
        let all = [&head, &headers, &target, &body];
        let is_missing = complete && all.iter().any(|limit| limit.is_none());
        let is_wrong = all.iter().any(|limit| matches!(limit, Some(None)));
        (!is_missing && !is_wrong).then(|| Self {
            head: head.flatten(),
            headers: headers.flatten(),
            target: target.flatten(),
            body: body.flatten(),
        })
    }
}

fn timeouts(field: &Field<'_>, findings: &mut Findings) -> Option<(Duration, Duration)> {
    let timeouts = Mapping::open(field, &["head", "body"], findings)?;
    let head = timeouts
        .required("head", "head: 5s", findings)
        .and_then(|field| field.duration(LONGEST, findings));
    let body = timeouts
        .required("body", "body: 15s", findings)
        .and_then(|field| field.duration(LONGEST, findings));
    Some((head?.value, body?.value))
}
