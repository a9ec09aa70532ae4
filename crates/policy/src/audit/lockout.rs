//! Locks that let a guesser get far, and addresses that may try anything.

use super::{AuditRule, AuditSeverity, Auditor};

static LOOSE_LOCK: AuditRule = AuditRule::new(
    "A1850",
    AuditSeverity::Medium,
    "a name is locked after more than 10 failures, or for less than 15 minutes",
    "a guesser gets far through a list of common passwords before the owner notices",
    "PCI DSS 4.0.1 8.3.4; OWASP ASVS 5.0 6.3.1; bank practice: 5 failures, 15 minutes",
);
static LOOSE_ADDRESS: AuditRule = AuditRule::new(
    "A1851",
    AuditSeverity::Medium,
    "one address may fail more than 100 times, or at more than 50 names",
    "one machine tries one common password at very many accounts",
    "OWASP API2:2023; OWASP Credential Stuffing Prevention",
);

pub(super) static RULES: [&AuditRule; 2] = [&LOOSE_LOCK, &LOOSE_ADDRESS];

const MOST_FAILURES: u32 = 10;
const SHORTEST_LOCK_S: u32 = 15 * 60;
const MOST_OF_AN_ADDRESS: u32 = 100;
const MOST_NAMES: u32 = 50;

impl Auditor<'_> {
    pub(super) fn lockout(&mut self) {
        let Some(rules) = self.plan.lockout() else { return };
        let first_s = rules.name.steps_s.first().copied().unwrap_or_default();
        let loose = [
            (rules.name.after > MOST_FAILURES, "lockout.name.after"),
            (first_s < SHORTEST_LOCK_S, "lockout.name.steps"),
        ];
        for (_, key) in loose.into_iter().filter(|(is_loose, _)| *is_loose) {
            self.find(
                &LOOSE_LOCK,
                key,
                format!(
                    "a name is locked after {} failures, for {first_s} s",
                    rules.name.after
                ),
                "`name: { after: 5, steps: [15min, 30min, 1h], decay: 15min }`",
            );
        }
        if !self.is_for_people() {
            return;
        }
        let address = &rules.address;
        let loose = [
            (address.failures > MOST_OF_AN_ADDRESS, "lockout.address.failures"),
            (address.names > MOST_NAMES, "lockout.address.names"),
        ];
        for (_, key) in loose.into_iter().filter(|(is_loose, _)| *is_loose) {
            self.find(
                &LOOSE_ADDRESS,
                key,
                format!(
                    "one address may fail {} times, at {} names",
                    address.failures, address.names
                ),
                "`address: { failures: 20, names: 10, per: 10min, block: [10min, 1h, 1d] }`",
            );
        }
    }
}
