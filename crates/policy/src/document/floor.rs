//! `floor`: what applies to every request; routes can only be tighter.

use super::rates::{self, RateDocument};
use crate::{
    diagnostic::{Findings, Span, code},
    language,
    read::{At, Field, Mapping, Named},
};
use std::{ops::RangeInclusive, time::Duration};

/// Less than this, nobody could send a request: the gateway would be closed, its health included.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_mins(5);
const LARGEST_BODY: u64 = 64 * 1_048_576;
const SMALLEST_HEAD: u64 = 1_024;
const SMALLEST_TARGET: u64 = 128;
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
            .and_then(|field| LimitsDocument::of_floor(&field, findings));
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
    /// Reads the sizes of a route, of which each may be left out. A wrong one leaves nothing.
    pub(crate) fn of_route(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        Self::read(field, language::ROUTE_LIMITS, [1, 1], findings)
    }

    /// Reads the sizes of the floor: no request is served that does not keep to them.
    fn of_floor(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        let smallest = [SMALLEST_HEAD, SMALLEST_TARGET];
        let limits = Self::read(field, language::FLOOR_LIMITS, smallest, findings)?;
        if let (Some(head), Some(target)) = (&limits.head, &limits.target)
            && target.value >= head.value
        {
            findings
                .error(
                    code::NO_EFFECT,
                    target.at,
                    "no target can be as large as the head that it is a part of",
                )
                .why("it looks like a limit and is none")
                .fix("make `target` smaller than `head`")
                .related(head.at, "the head");
            return None;
        }
        Some(limits)
    }

    fn read(
        field: &Field<'_>,
        keys: &'static [language::Key],
        [head, target]: [u64; 2],
        findings: &mut Findings,
    ) -> Option<Self> {
        let before = findings.len();
        let limits = Mapping::open_some(field, keys, findings)?;
        let size = |key: &str, range: RangeInclusive<u64>, findings: &mut Findings| {
            limits
                .key(key, findings)
                .and_then(|field| field.size_within(range, findings))
        };
        let read = Self {
            head: size("head", head..=LARGEST_HEAD, findings),
            headers: limits
                .key("headers", findings)
                .and_then(|field| field.number(1..=language::MOST_HEADERS, findings)),
            target: size("target", target..=LARGEST_HEAD, findings),
            body: size("body", 1..=LARGEST_BODY, findings),
        };
        (findings.len() == before).then_some(read)
    }
}

fn timeouts(field: &Field<'_>, findings: &mut Findings) -> Option<(Duration, At<Duration>)> {
    let timeouts = Mapping::open(field, language::FLOOR_TIMEOUTS, findings)?;
    let head = timeouts
        .key("head", findings)
        .and_then(|field| field.duration_within(SHORTEST..=LONGEST, findings));
    let body = timeouts
        .key("body", findings)
        .and_then(|field| field.duration_within(SHORTEST..=LONGEST, findings));
    Some((head?.value, body?))
}
