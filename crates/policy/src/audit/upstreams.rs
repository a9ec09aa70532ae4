//! Services behind the gateway: what happens when one of their addresses dies.

use super::{AuditRule, AuditSeverity, Auditor};

static DEAD_ADDRESSES: AuditRule = AuditRule::new(
    "A1701",
    AuditSeverity::Low,
    "nobody notices a dead address",
    "every second request goes on being sent to an address that does not answer",
    "OWASP API8:2023",
);
static HASTY_BREAKER: AuditRule = AuditRule::new(
    "A1702",
    AuditSeverity::Medium,
    "a few failures shut a service off",
    "whoever can make a few requests fail takes the service away from everyone",
    "OWASP API4:2023; CWE-400",
);

pub(super) static RULES: [&AuditRule; 2] = [&DEAD_ADDRESSES, &HASTY_BREAKER];

/// Failures in a row that a single client can hardly cause while others succeed.
const ENOUGH_FAILURES: u32 = 5;

impl Auditor<'_> {
    pub(super) fn upstreams(&mut self) {
        for upstream in self.plan.upstreams() {
            let key = upstream.rule.key();
            if !upstream.also_at.is_empty() && upstream.health.is_none() && upstream.eject.is_none() {
                self.find(
                    &DEAD_ADDRESSES,
                    format!("{key}.also_at"),
                    format!("`{}` has several addresses that nothing watches", upstream.name),
                    "`eject: { failures: 5, for: 10s }`, or `health`",
                );
            }
            let hasty = upstream
                .breaker
                .as_ref()
                .filter(|breaker| breaker.failures < ENOUGH_FAILURES);
            if let Some(breaker) = hasty {
                self.find(
                    &HASTY_BREAKER,
                    format!("{key}.breaker.failures"),
                    format!(
                        "the breaker of `{}` opens after {}",
                        upstream.name, breaker.failures
                    ),
                    format!("at least {ENOUGH_FAILURES}"),
                );
            }
        }
    }
}
