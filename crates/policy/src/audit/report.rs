//! An audit as text for people, as JSON for programs, and as SARIF for code hosts.

use super::{Audit, AuditFinding, AuditSeverity, Grade, Score, rules};
use crate::{
    Diagnostic, Severity, SourceFile, render,
    sarif::{self, SarifResult, SarifRule},
};
use std::fmt::Write;

/// What is open with its line, then what is waived and what is a note in one line each, then the score.
#[must_use]
pub fn human(audit: &Audit, files: &[SourceFile]) -> String {
    let mut text = String::new();
    for finding in audit.open(AuditSeverity::Low) {
        let label = finding.rule.severity.as_str();
        text.push_str(&render::finding(label, &diagnostic(finding), files));
    }
    // Writing to a String cannot fail.
    let _ = others(&mut text, audit);
    let _ = summary(&mut text, audit);
    let _ = score(&mut text, &audit.score);
    text
}

/// Everything, the score included; the members are those of [`Audit`].
#[must_use]
pub fn json(audit: &Audit) -> String {
    // Only strings and numbers: this cannot fail.
    serde_json::to_string_pretty(audit).unwrap_or_default()
}

/// Findings as SARIF 2.1.0, waived ones as suppressed. `root` is the policy folder as the repository names it.
#[must_use]
pub fn sarif(audit: &Audit, root: &str) -> String {
    let rules: Vec<SarifRule> = rules()
        .map(|rule| SarifRule {
            id: rule.id,
            title: rule.title,
            why: rule.why,
            security_severity: Some(match rule.severity {
                AuditSeverity::Info => "0.0",
                AuditSeverity::Low => "3.0",
                AuditSeverity::Medium => "5.0",
                AuditSeverity::High => "8.0",
                AuditSeverity::Critical => "9.5",
            }),
        })
        .collect();
    let results = audit.findings.iter().map(|finding| SarifResult {
        rule: finding.rule.id,
        level: match finding.rule.severity {
            AuditSeverity::Critical | AuditSeverity::High => "error",
            AuditSeverity::Medium => "warning",
            AuditSeverity::Low | AuditSeverity::Info => "note",
        },
        message: format!("{}: {}; {}", finding.message, finding.rule.why, finding.fix),
        file: &finding.file,
        line: finding.line,
        column: finding.column,
        length: finding.length,
        justification: finding.waived.as_ref().map(|waived| waived.because.as_str()),
    });
    sarif::log(&rules, results, root)
}

fn diagnostic(finding: &AuditFinding) -> Diagnostic {
    Diagnostic {
        code: finding.rule.id,
        severity: Severity::Warning,
        file: finding.file.clone(),
        line: finding.line,
        column: finding.column,
        length: finding.length,
        message: format!("{}: {}", finding.key, finding.message),
        why: format!("{} ({})", finding.rule.why, finding.rule.source),
        fix: Some(finding.fix.clone()),
        related: None,
    }
}

fn others(text: &mut String, audit: &Audit) -> std::fmt::Result {
    let before = text.len();
    for finding in &audit.findings {
        let (id, key, place) = (
            finding.rule.id,
            &finding.key,
            format!("{}:{}", finding.file, finding.line),
        );
        if let Some(waived) = &finding.waived {
            let (until, because) = (waived.until, render::visible(&waived.because));
            writeln!(text, "waived[{id}] {key} until {until}: {because}  {place}")?;
        }
    }
    for finding in audit
        .open(AuditSeverity::Info)
        .filter(|finding| finding.rule.severity == AuditSeverity::Info)
    {
        let place = format!("{}:{}", finding.file, finding.line);
        writeln!(
            text,
            "info[{}] {}  {place}",
            finding.rule.id,
            render::visible(&finding.message)
        )?;
    }
    if text.len() > before {
        writeln!(text)?;
    }
    Ok(())
}

fn summary(text: &mut String, audit: &Audit) -> std::fmt::Result {
    let hash = audit.bundle.get(..12).unwrap_or_default();
    writeln!(
        text,
        "audit of {}, bundle {hash}, on {}",
        audit.environment, audit.date
    )?;
    let severities = [
        AuditSeverity::Critical,
        AuditSeverity::High,
        AuditSeverity::Medium,
        AuditSeverity::Low,
    ];
    let counts: Vec<String> = severities
        .into_iter()
        .map(|severity| {
            let same = |finding: &&AuditFinding| finding.rule.severity == severity;
            (audit.open(severity).filter(same).count(), severity.as_str())
        })
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let open = if counts.is_empty() {
        "nothing".to_owned()
    } else {
        counts.join(", ")
    };
    let waived = audit
        .findings
        .iter()
        .filter(|finding| finding.waived.is_some())
        .count();
    let rules = rules().count();
    writeln!(text, "  open: {open}; waived: {waived}; {rules} rules")?;
    let Grade {
        grade,
        of_headers,
        worst,
    } = &audit.score.grade;
    let worst = worst.map_or_else(String::new, |worst| {
        format!("; worst finding: {}", worst.as_str())
    });
    writeln!(text, "  grade: {grade} (headers alone: {of_headers}{worst})\n")
}

fn score(text: &mut String, score: &Score) -> std::fmt::Result {
    writeln!(text, "OWASP Secure Headers")?;
    for profile in &score.secure_headers {
        let missing: Vec<&str> = profile
            .headers
            .iter()
            .filter(|header| !header.is_met)
            .map(|header| header.name)
            .collect();
        let rest = if missing.is_empty() {
            String::new()
        } else {
            format!("  not met: {}", missing.join(", "))
        };
        let (name, met, of) = (&profile.profile, profile.met(), profile.headers.len());
        writeln!(text, "  {name:<12} {met:>3} of {of}{rest}")?;
    }
    writeln!(text, "\nMDN HTTP Observatory (what a policy decides)")?;
    for profile in &score.observatory {
        let lost: Vec<String> = profile
            .tests
            .iter()
            .filter(|test| test.modifier < 0)
            .map(|test| format!("{} {}", test.result, test.modifier))
            .collect();
        let rest = if lost.is_empty() {
            String::new()
        } else {
            format!("  {}", lost.join(", "))
        };
        let (name, points, grade) = (&profile.profile, profile.score, profile.grade);
        writeln!(text, "  {name:<12} {points:>3}  {grade}{rest}")?;
    }
    writeln!(text, "\nOWASP API Security Top 10 (2023)")?;
    for risk in &score.api_top_10 {
        writeln!(
            text,
            "  {:<5} {:<5}  {}",
            risk.id,
            risk.status.as_str(),
            risk.title
        )?;
        for found in &risk.found {
            writeln!(text, "        found: {} {}", found.rule, found.key)?;
        }
        for answered in &risk.here {
            let place = answered.rule.split(' ').next().unwrap_or_default();
            writeln!(text, "        here: {}  {place}", answered.what)?;
        }
        writeln!(text, "        left to the service: {}", risk.left_to_the_service)?;
    }
    Ok(())
}
