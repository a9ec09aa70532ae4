//! What an upstream does about failures: `health`, `eject`, `retries`, `breaker`.

use super::upstreams::LONGEST;
use crate::{
    diagnostic::{Findings, Span, code},
    language::{self, MOST_BUDGET, MOST_IN_A_ROW, MOST_RETRIES},
    path,
    plan::{Breaker, Ejection, Fallback, HealthCheck, Retries},
    read::{At, Field, Mapping, in_units},
};
use std::time::Duration;

/// After a day, an answer of yesterday is worse than none.
const LONGEST_STALE: Duration = Duration::from_hours(24);

/// Reads `health`.
pub(super) fn health(field: &Field<'_>, findings: &mut Findings) -> Option<HealthCheck> {
    let health = Mapping::open(field, language::UPSTREAM_HEALTH, findings)?;
    let path = health
        .key("path", findings)
        .and_then(|field| path_of(&field, findings));
    let every = time(&health, "every", findings);
    let timeout = time(&health, "timeout", findings);
    let failures = in_a_row(&health, "failures", findings);
    let successes = in_a_row(&health, "successes", findings);
    let (every, timeout) = (every?, timeout?);
    if timeout.value > every.value {
        findings
            .error(
                code::BAD_DURATION,
                timeout.at,
                format!("{}.timeout is longer than `every`", field.path),
            )
            .why("the next question would come before the answer")
            .fix(format!("at most {}", in_units(every.value)));
    }
    Some(HealthCheck {
        path: path?,
        every: every.value,
        timeout: timeout.value,
        failures: failures?,
        successes: successes?,
    })
}

/// Reads `eject`.
pub(super) fn ejection(field: &Field<'_>, findings: &mut Findings) -> Option<At<Ejection>> {
    let eject = Mapping::open(field, language::UPSTREAM_EJECT, findings)?;
    let failures = in_a_row(&eject, "failures", findings);
    let time = time(&eject, "for", findings);
    Some(At {
        value: Ejection {
            failures: failures?,
            time: time?.value,
        },
        at: field.key_at,
    })
}

/// Reads `retries`.
pub(super) fn retries(field: &Field<'_>, findings: &mut Findings) -> Option<Retries> {
    let retries = Mapping::open(field, language::UPSTREAM_RETRIES, findings)?;
    let most = retries
        .key("most", findings)
        .and_then(|field| field.number(1..=MOST_RETRIES, findings));
    let budget = retries
        .key("budget", findings)
        .and_then(|field| field.percent(MOST_BUDGET, findings));
    Some(Retries {
        most: small(most?.value),
        budget_percent: small(budget?.value),
    })
}

/// Reads `breaker`, and where its `stale_for` stands.
pub(super) fn breaker(field: &Field<'_>, findings: &mut Findings) -> Option<(Breaker, Option<Span>)> {
    let breaker = Mapping::open(field, language::UPSTREAM_BREAKER, findings)?;
    let failures = in_a_row(&breaker, "failures", findings);
    let time = time(&breaker, "for", findings);
    let fallback = breaker
        .optional("fallback")
        .and_then(|field| fallback(&field, findings));
    let (fallback, stale_at) = fallback.unzip();
    let breaker = Breaker {
        failures: failures?,
        time: time?.value,
        fallback,
    };
    Some((breaker, stale_at.flatten()))
}

fn fallback(field: &Field<'_>, findings: &mut Findings) -> Option<(Fallback, Option<Span>)> {
    let fallback = Mapping::open(field, language::UPSTREAM_FALLBACK, findings)?;
    let status = fallback
        .key("status", findings)
        .and_then(|field| field.number(500..=599, findings));
    let detail = fallback
        .key("detail", findings)
        .and_then(|field| field.sentence(findings));
    let stale_for = fallback
        .optional("stale_for")
        .and_then(|field| field.duration(LONGEST_STALE, findings));
    let stale_at = stale_for.as_ref().map(|stale_for| stale_for.at);
    let fallback = Fallback {
        status: u16::try_from(status?.value).ok()?,
        detail: detail?.value,
        stale_for: stale_for.map(|stale_for| stale_for.value),
    };
    Some((fallback, stale_at))
}

fn time(mapping: &Mapping<'_>, key: &str, findings: &mut Findings) -> Option<At<Duration>> {
    mapping
        .key(key, findings)
        .and_then(|field| field.duration(LONGEST, findings))
}

fn in_a_row(mapping: &Mapping<'_>, key: &str, findings: &mut Findings) -> Option<u32> {
    let count = mapping
        .key(key, findings)
        .and_then(|field| field.number(1..=MOST_IN_A_ROW, findings))?;
    Some(small(count.value))
}

/// The ranges above end far below.
fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn path_of(field: &Field<'_>, findings: &mut Findings) -> Option<String> {
    let text = field.text(findings)?;
    if path::target(&text.value).is_ok() {
        return Some(text.value);
    }
    findings
        .error(
            code::BAD_PATH,
            text.at,
            format!("`{}` is not a path that can be asked for", text.value),
        )
        .why("the gateway asks for exactly what is written")
        .fix("a canonical path: `/health/ready`");
    None
}
