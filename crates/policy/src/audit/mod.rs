//! The audit: rules about the values of a bundle that compiles, each with a severity, a place, a fix and a source.
//!
//! The compiler refuses what means nothing or falls below the bundle's own floor; the audit says what means something
//! and is weak. Pure: whoever asks brings the files and the date.

mod answers;
mod api_documents;
mod api_top_10;
mod cors;
mod csp;
mod doors;
mod fields;
mod headers;
mod limits;
mod lockout;
mod observatory;
mod places;
mod proxies;
mod report;
mod routes;
mod score;
mod sizes;
mod tls;
mod tokens;
mod upstreams;
mod waivers;
mod words;

pub use api_top_10::{Answered, ApiRisk, FoundAbout, RiskStatus};
pub use observatory::{ObservatoryScore, ObservatoryTest};
pub use report::{human, json, sarif};
pub use score::{Grade, HeaderScore, Score, ScoredHeader};

use crate::{Date, Diagnostic, Plan, SourceFile, compile, diagnostic::Place, plan::Profile};
use places::Places;
use serde::Serialize;
use std::sync::Arc;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditSeverity {
    /// Worth knowing; nothing to mend.
    Info,
    /// A layer of defence is missing.
    Low,
    /// An attack becomes easier.
    Medium,
    /// An attack is possible that the policy could stop.
    High,
    /// Anyone can do harm now.
    Critical,
}

impl AuditSeverity {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// One rule of the audit. An id keeps its meaning for ever.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct AuditRule {
    /// Stable id, `A1001` and up; listed in `docs/policy-audit.md`.
    #[serde(rename = "rule")]
    pub id: &'static str,
    /// How much a finding of it matters.
    pub severity: AuditSeverity,
    /// What it finds, in a few words.
    pub title: &'static str,
    /// What an attacker gains.
    pub why: &'static str,
    /// What it is measured against.
    pub source: &'static str,
    /// Whether a waiver may take its findings back.
    #[serde(skip)]
    pub is_waivable: bool,
}

impl AuditRule {
    const fn new(
        id: &'static str,
        severity: AuditSeverity,
        title: &'static str,
        why: &'static str,
        source: &'static str,
    ) -> Self {
        Self {
            id,
            severity,
            title,
            why,
            source,
            is_waivable: true,
        }
    }
}

/// Every rule, by id.
pub fn rules() -> impl Iterator<Item = &'static AuditRule> {
    let files: [&[&AuditRule]; 15] = [
        &answers::RULES,
        &csp::RULES,
        &headers::RULES,
        &tls::RULES,
        &proxies::RULES,
        &tokens::RULES,
        &limits::RULES,
        &lockout::RULES,
        &sizes::RULES,
        &routes::RULES,
        &doors::RULES,
        &cors::RULES,
        &waivers::RULES,
        &upstreams::RULES,
        &api_documents::RULES,
    ];
    let mut rules: Vec<&AuditRule> = files.into_iter().flatten().copied().collect();
    rules.sort_by_key(|rule| rule.id);
    rules.into_iter()
}

/// One finding of one rule, with its exact position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditFinding {
    /// The rule that found it.
    #[serde(flatten)]
    pub rule: &'static AuditRule,
    /// The key that it is about, as a waiver names it: `routes.upload.limits.body`.
    pub key: String,
    /// Name of the file.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// How many characters of that line the finding covers.
    pub length: u32,
    /// What is weak, in one line.
    pub message: String,
    /// What to write instead.
    pub fix: String,
    /// The waiver that takes it back; an expired one does not.
    pub waived: Option<WaivedBy>,
}

/// Why a finding is taken back, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaivedBy {
    /// Name of the waiver.
    pub name: String,
    /// Its reason.
    pub because: String,
    /// Its last day.
    pub until: Date,
}

/// What an audit came to.
#[derive(Debug, Clone, Serialize)]
pub struct Audit {
    /// The environment that was looked at.
    pub environment: String,
    /// Hash of the bundle.
    pub bundle: String,
    /// The day of the audit, which decides about waivers.
    pub date: Date,
    /// Every finding, waived ones and notes included: the most severe first, then by place.
    pub findings: Vec<AuditFinding>,
    /// What the bundle scores.
    pub score: Score,
}

impl Audit {
    /// Findings that no waiver takes back, of this severity or a higher one.
    pub fn open(&self, at_least: AuditSeverity) -> impl Iterator<Item = &AuditFinding> {
        self.findings
            .iter()
            .filter(move |finding| finding.waived.is_none() && finding.rule.severity >= at_least)
    }
}

/// Audits a bundle as one environment runs it. `today` decides which waivers have expired.
///
/// # Errors
/// The findings of the compiler, when the bundle does not compile: there is nothing to audit then.
pub fn audit(files: &[SourceFile], environment: &str, today: Date) -> Result<Audit, Vec<Diagnostic>> {
    let plan = compile(files, environment)?;
    let mut auditor = Auditor {
        plan: &plan,
        places: Places::of(files, environment),
        profiles: profiles(&plan),
        today,
        findings: Vec::new(),
    };
    auditor.csp();
    auditor.headers();
    auditor.tls();
    auditor.proxies();
    auditor.tokens();
    auditor.limits();
    auditor.lockout();
    auditor.sizes();
    auditor.routes();
    auditor.doors();
    auditor.cors();
    auditor.upstreams();
    auditor.answers();
    auditor.api_documents();
    auditor.waivers();
    let mut findings = auditor.findings;
    findings.sort_by(|a, b| {
        let key = |finding: &AuditFinding| {
            (
                finding.file.clone(),
                finding.line,
                finding.column,
                finding.rule.id,
            )
        };
        b.rule
            .severity
            .cmp(&a.rule.severity)
            .then_with(|| key(a).cmp(&key(b)))
    });
    let score = Score::of(&plan, &auditor.profiles, &findings);
    Ok(Audit {
        environment: environment.to_owned(),
        bundle: plan.hash().to_owned(),
        date: today,
        findings,
        score,
    })
}

/// State of one audit.
struct Auditor<'p> {
    plan: &'p Plan,
    places: Places,
    profiles: Vec<Used<'p>>,
    today: Date,
    findings: Vec<AuditFinding>,
}

impl Auditor<'_> {
    /// Whether people other than its developers use this environment.
    fn is_for_people(&self) -> bool {
        !matches!(self.plan.environment(), "development" | "test")
    }

    /// Adds a finding about `key`; it is shown there, or at the nearest key above it that is written.
    fn find(
        &mut self,
        rule: &'static AuditRule,
        key: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let key = key.into();
        let place = self.places.of_key(&key);
        self.find_at(rule, (key, place), message, fix);
    }

    /// Adds a finding about one item of the list at `key`.
    fn find_item(
        &mut self,
        rule: &'static AuditRule,
        (key, item): (&str, &str),
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let place = self.places.of_item(key, item);
        self.find_at(rule, (key.to_owned(), place), message, fix);
    }

    fn find_at(
        &mut self,
        rule: &'static AuditRule,
        (key, place): (String, Place),
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let Place {
            file,
            line,
            column,
            length,
        } = place;
        self.findings.push(AuditFinding {
            rule,
            key,
            file,
            line,
            column,
            length,
            message: message.into(),
            fix: fix.into(),
            waived: None,
        });
    }
}

/// A header profile that some answer carries.
struct Used<'p> {
    /// `headers.api`.
    key: &'p str,
    profile: &'p Profile,
    /// Whether an answer to somebody who is signed in carries it.
    is_for_protected: bool,
}

impl Used<'_> {
    /// The name in the policy.
    fn name(&self) -> &str {
        self.key.strip_prefix("headers.").unwrap_or(self.key)
    }

    /// The value that this profile gives a header.
    fn value(&self, header: &str) -> Option<&str> {
        let (_, value) = self
            .profile
            .over_https
            .iter()
            .find(|(name, _)| name.as_str().eq_ignore_ascii_case(header))?;
        value.to_str().ok()
    }

    /// The key that sets a header, whether it is there or not.
    fn key_of(&self, header: &str) -> String {
        format!("{}.set.{header}", self.key)
    }
}

/// The floor's profile first, then each other one that a route names, by name.
fn profiles(plan: &Plan) -> Vec<Used<'_>> {
    let floor = &plan.floor_headers;
    let mut used: Vec<&Arc<Profile>> = plan.routes.iter().map(|route| &route.headers).collect();
    used.retain(|profile| profile.rule != floor.rule);
    used.sort_by(|a, b| a.rule.key().cmp(b.rule.key()));
    used.dedup_by(|a, b| a.rule == b.rule);
    used.insert(0, floor);
    used.into_iter()
        .map(|profile| Used {
            key: profile.rule.key(),
            profile,
            is_for_protected: plan
                .routes
                .iter()
                .any(|route| route.headers.rule == profile.rule && route.is_protected()),
        })
        .collect()
}
