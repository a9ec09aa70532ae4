//! What a bundle scores against lists that others publish.

use super::{
    AuditFinding, AuditSeverity, Used,
    api_top_10::{self, ApiRisk},
    observatory::{self, ObservatoryScore},
};
use crate::Plan;
use serde::Serialize;

/// The headers that OWASP Secure Headers asks for on every answer. `Clear-Site-Data` belongs to log-out pages.
const SECURE_HEADERS: [&str; 12] = [
    "Cache-Control",
    "Content-Security-Policy",
    "Cross-Origin-Embedder-Policy",
    "Cross-Origin-Opener-Policy",
    "Cross-Origin-Resource-Policy",
    "Permissions-Policy",
    "Referrer-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-DNS-Prefetch-Control",
    "X-Frame-Options",
    "X-Permitted-Cross-Domain-Policies",
];

/// What a bundle scores.
#[derive(Debug, Clone, Serialize)]
pub struct Score {
    /// One grade for all of it.
    pub grade: Grade,
    /// OWASP Secure Headers, by profile, the floor's first.
    pub secure_headers: Vec<HeaderScore>,
    /// MDN HTTP Observatory, by profile.
    pub observatory: Vec<ObservatoryScore>,
    /// OWASP API Security Top 10 of 2023: what answers each risk here, and what is left to the service behind.
    pub api_top_10: Vec<ApiRisk>,
}

/// One grade for a bundle: that of its weakest headers, and no better than what the audit found lets it be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grade {
    /// `A+` to `F`.
    pub grade: &'static str,
    /// The lowest grade that the Observatory gives a profile.
    pub of_headers: &'static str,
    /// The most severe finding, notes aside. A waiver changes nothing about it.
    pub worst: Option<AuditSeverity>,
}

impl Grade {
    fn of(observatory: &[ObservatoryScore], findings: &[AuditFinding]) -> Self {
        let severities = findings.iter().map(|finding| finding.rule.severity);
        let worst = severities
            .filter(|severity| *severity > AuditSeverity::Info)
            .max();
        let headers = observatory.iter().map(|profile| profile.score).min().unwrap_or(0);
        // The lowest score of the best grade that each severity leaves.
        let most = match worst {
            None | Some(AuditSeverity::Info) => i32::MAX,
            Some(AuditSeverity::Low) => 90,
            Some(AuditSeverity::Medium) => 70,
            Some(AuditSeverity::High) => 30,
            Some(AuditSeverity::Critical) => 0,
        };
        Self {
            grade: observatory::grade(headers.min(most)),
            of_headers: observatory::grade(headers),
            worst,
        }
    }
}

/// How much of the OWASP Secure Headers set one profile has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeaderScore {
    /// Name of the header profile.
    pub profile: String,
    /// Every header of the set.
    pub headers: Vec<ScoredHeader>,
}

/// One header of the set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScoredHeader {
    /// Its name.
    pub name: &'static str,
    /// What the profile sets it to.
    pub value: Option<String>,
    /// Whether it is there and no rule of the audit, notes aside, finds it weak. A waiver changes nothing about it.
    pub is_met: bool,
}

impl HeaderScore {
    /// How many headers are met.
    #[must_use]
    pub fn met(&self) -> usize {
        self.headers.iter().filter(|header| header.is_met).count()
    }
}

impl Score {
    pub(super) fn of(plan: &Plan, profiles: &[Used<'_>], findings: &[AuditFinding]) -> Self {
        let observatory: Vec<ObservatoryScore> = profiles.iter().map(observatory::score).collect();
        Self {
            grade: Grade::of(&observatory, findings),
            secure_headers: profiles
                .iter()
                .map(|used| secure_headers(used, findings))
                .collect(),
            observatory,
            api_top_10: api_top_10::risks(plan, findings),
        }
    }
}

fn secure_headers(used: &Used<'_>, findings: &[AuditFinding]) -> HeaderScore {
    let scored = |name: &'static str| {
        let key = used.key_of(name);
        let is_weak = findings
            .iter()
            .any(|finding| finding.key == key && finding.rule.severity > AuditSeverity::Info);
        let value = used.value(name).map(str::to_owned);
        ScoredHeader {
            name,
            is_met: value.is_some() && !is_weak,
            value,
        }
    };
    HeaderScore {
        profile: used.name().to_owned(),
        headers: SECURE_HEADERS.into_iter().map(scored).collect(),
    }
}
