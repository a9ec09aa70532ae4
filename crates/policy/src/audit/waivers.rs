//! Waivers and overlays: exceptions that are too old, too long, about nothing, or simply worth knowing.

use super::{AuditRule, AuditSeverity, Auditor, WaivedBy};
use crate::plan::Waiver;
use std::collections::BTreeSet;

/// A waiver of a finding about waivers would never end.
const fn rule(
    id: &'static str,
    severity: AuditSeverity,
    title: &'static str,
    why: &'static str,
    source: &'static str,
) -> AuditRule {
    let mut rule = AuditRule::new(id, severity, title, why, source);
    rule.is_waivable = false;
    rule
}

static EXPIRED: AuditRule = rule(
    "A1601",
    AuditSeverity::High,
    "a waiver that has expired",
    "the exception goes on, and nobody answers for it any more",
    "PCI DSS 4.0 12.3",
);
static FAR: AuditRule = rule(
    "A1602",
    AuditSeverity::Low,
    "a waiver for more than a year",
    "whoever decided it will not be there to be asked",
    "PCI DSS 4.0 12.3: reviewed at least once a year",
);
static WAIVES_NOTHING: AuditRule = rule(
    "A1603",
    AuditSeverity::Medium,
    "a waiver that waives no finding of the audit",
    "it would wave through, unseen, whatever is written there later",
    "the policy's own waivers",
);
static BELOW_FLOOR: AuditRule = rule(
    "A1604",
    AuditSeverity::Info,
    "looser than the floor or an upstream, by a waiver",
    "the floor is what every route can rely on, and this one cannot",
    "the policy's own floor",
);
static LOOSER_HERE: AuditRule = rule(
    "A1605",
    AuditSeverity::Info,
    "an overlay that makes a limit looser",
    "what is tested there is not what production enforces",
    "the policy's own base files",
);

pub(super) static RULES: [&AuditRule; 5] = [&EXPIRED, &FAR, &WAIVES_NOTHING, &BELOW_FLOOR, &LOOSER_HERE];

const A_YEAR_DAYS: i64 = 366;

impl Auditor<'_> {
    /// Takes waived findings back, then judges the waivers themselves.
    pub(super) fn waivers(&mut self) {
        let plan = self.plan;
        let used = self.take_back();
        for waiver in plan.waivers() {
            let key = waiver.rule.key();
            let (code, at) = (&waiver.code, &waiver.key);
            if waiver.is_expired(self.today) {
                self.find(
                    &EXPIRED,
                    format!("{key}.until"),
                    format!("`{}` expired: its last day was {}", waiver.name, waiver.until),
                    format!("mend {at} ({code}), or decide anew until when"),
                );
            } else if waiver.until.days_since(self.today) > A_YEAR_DAYS {
                self.find(
                    &FAR,
                    format!("{key}.until"),
                    format!("`{}` is good for more than a year", waiver.name),
                    "a day within a year",
                );
            }
            if code.starts_with('P') {
                let message = format!("{code} is waived here until {}: {}", waiver.until, waiver.because);
                self.find(
                    &BELOW_FLOOR,
                    at.as_str(),
                    message,
                    "tighten it when the reason is gone",
                );
            } else if !used.contains(waiver.name.as_str()) {
                self.find(
                    &WAIVES_NOTHING,
                    format!("{key}.at"),
                    format!("`{}` waives nothing: there is no {code} at `{at}`", waiver.name),
                    "remove it, or write the key as the finding names it",
                );
            }
        }
        for limit in plan
            .routes()
            .iter()
            .flat_map(|route| route.rates())
            .chain(&plan.floor().rate)
        {
            let key = self.key_of(limit);
            // The compiler wants a reason exactly where the overlay is looser.
            let is_told = self
                .findings
                .iter()
                .any(|finding| finding.rule == &LOOSER_HERE && finding.key == key);
            if key.starts_with("rates.") && self.places.has(&format!("{key}.because")) && !is_told {
                let message = format!(
                    "`{}` is looser in `{}` than in the base",
                    limit.name,
                    plan.environment()
                );
                self.find(
                    &LOOSER_HERE,
                    key,
                    message,
                    "keep it as near to the base as its reason allows",
                );
            }
        }
    }

    /// Marks each finding that a waiver is about; answers the waivers that found one.
    fn take_back(&mut self) -> BTreeSet<String> {
        let is_about = |waiver: &Waiver, code: &str, key: &str| {
            waiver.code == code && waiver.key.eq_ignore_ascii_case(key)
        };
        let mut used = BTreeSet::new();
        for finding in &mut self.findings {
            let mut waivers = self.plan.waivers().iter();
            let Some(waiver) = waivers.find(|waiver| is_about(waiver, finding.rule.id, &finding.key)) else {
                continue;
            };
            used.insert(waiver.name.clone());
            if !waiver.is_expired(self.today) {
                finding.waived = Some(WaivedBy {
                    name: waiver.name.clone(),
                    because: waiver.because.clone(),
                    until: waiver.until,
                });
            }
        }
        used
    }
}
