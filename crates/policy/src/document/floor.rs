//! `floor`: what applies to every request; routes can only be tighter.

use super::rates::{self, RateDocument};
use crate::{
    diagnostic::{Findings, Span},
    language,
    read::{At, Field, Mapping, Named},
};
use std::time::Duration;

const LONGEST: Duration = Duration::from_mins(5);
const LARGEST_BODY: u64 = 64 * 1_048_576;
const LARGEST_HEAD: u64 = 64 * 1_024;

/// The floor as written.
#[derive(Debug, Clone)]
pub(crate) struct FloorDocument {
    pub(crate) limits: LimitsDocument,
    pub(crate) head_timeout: Duration,
    pub(crate) body_timeout: At<Duration>,
    pub(crate) deny_from: Option<(Span, Vec<At<String>>)>,
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
        let floor = Mapping::open(field, language::FLOOR, findings)?;
        let limits = floor
            .key("limits", findings)
            .and_then(|field| LimitsDocument::read(&field, language::FLOOR_LIMITS, findings));
        let timeouts = floor
            .key("timeouts", findings)
            .and_then(|field| timeouts(&field, findings));
        let rates = floor
            .key("rate", findings)
            .map(|field| rates::read(&field, findings));
        let deny_from = floor
            .optional("deny_from")
            .map(|field| (field.key_at, field.list(findings, Field::text)));
        let headers = floor
            .key("headers", findings)
            .and_then(|field| field.text(findings));
        let (head_timeout, body_timeout) = timeouts?;
        Some(Self {
            limits: limits?,
            head_timeout,
            body_timeout,
            deny_from: deny_from.map_or(Some(None), |(at, lists)| lists.map(|lists| Some((at, lists))))?,
            rates: rates?,
            headers: headers?,
        })
    }
}

impl LimitsDocument {
    /// Reads sizes; `keys` says which must be there. A wrong or missing one leaves nothing.
    pub(crate) fn read(
        field: &Field<'_>,
        keys: &'static [language::Key],
        findings: &mut Findings,
    ) -> Option<Self> {
        let before = findings.len();
        let limits = Mapping::open(field, keys, findings)?;
        let size = |key: &str, most: u64, findings: &mut Findings| {
            limits
                .key(key, findings)
                .and_then(|field| field.size(most, findings))
        };
        let read = Self {
            head: size("head", LARGEST_HEAD, findings),
            headers: limits
                .key("headers", findings)
                .and_then(|field| field.number(1..=language::MOST_HEADERS, findings)),
            target: size("target", LARGEST_HEAD, findings),
            body: size("body", LARGEST_BODY, findings),
        };
        (findings.len() == before).then_some(read)
    }
}

fn timeouts(field: &Field<'_>, findings: &mut Findings) -> Option<(Duration, At<Duration>)> {
    let timeouts = Mapping::open(field, language::FLOOR_TIMEOUTS, findings)?;
    let head = timeouts
        .key("head", findings)
        .and_then(|field| field.duration(LONGEST, findings));
    let body = timeouts
        .key("body", findings)
        .and_then(|field| field.duration(LONGEST, findings));
    Some((head?.value, body?))
}
