//! Answers that are kept: how old they can get.

use super::{AuditRule, AuditSeverity, Auditor};
use crate::plan::CacheKey;
use std::time::Duration;

static KEPT_TOO_LONG: AuditRule = AuditRule::new(
    "A1811",
    AuditSeverity::Medium,
    "a person is shown what was true a while ago",
    "what another gateway, another channel or another person has changed since is not seen: a balance is spent twice in good faith",
    "CWE-524; RFC 9111 §4.2",
);
static STALE_TOO_LONG: AuditRule = AuditRule::new(
    "A1812",
    AuditSeverity::Low,
    "answers are given long after their time",
    "while a service is down, people act on what was true before it went down",
    "CWE-524; RFC 9111 §4.2.4",
);

pub(super) static RULES: [&AuditRule; 2] = [&KEPT_TOO_LONG, &STALE_TOO_LONG];

/// As long as a person may take a slow page for the present.
const LONGEST_KEPT: Duration = Duration::from_secs(10);
const LONGEST_STALE: Duration = Duration::from_mins(15);

impl Auditor<'_> {
    pub(super) fn answers(&mut self) {
        for route in self.plan.routes() {
            let kept = route
                .cache
                .filter(|cache| cache.key == CacheKey::Principal && cache.time > LONGEST_KEPT);
            if kept.is_some() {
                self.find(
                    &KEPT_TOO_LONG,
                    format!("{}.cache.for", route.rule.key()),
                    format!(
                        "answers of `{} {}` about a person are kept for long",
                        route.method, route.path
                    ),
                    format!("at most {}s", LONGEST_KEPT.as_secs()),
                );
            }
        }
        for upstream in self.plan.upstreams() {
            let fallback = upstream
                .breaker
                .as_ref()
                .and_then(|breaker| breaker.fallback.as_ref());
            if fallback
                .and_then(|fallback| fallback.stale_for)
                .is_some_and(|time| time > LONGEST_STALE)
            {
                self.find(
                    &STALE_TOO_LONG,
                    format!("{}.breaker.fallback.stale_for", upstream.rule.key()),
                    format!("old answers of `{}` are given for long", upstream.name),
                    "at most 15min",
                );
            }
        }
    }
}
