//! SARIF 2.1.0: findings for code hosts and editors.

use crate::{Diagnostic, Severity, diagnostic};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What one rule finds.
pub(crate) struct SarifRule {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) why: &'static str,
    /// GitHub's scale from 0.0 to 10.0, when the rule is about security.
    pub(crate) security_severity: Option<&'static str>,
}

/// One finding.
pub(crate) struct SarifResult<'f> {
    pub(crate) rule: &'static str,
    /// `error`, `warning` or `note`.
    pub(crate) level: &'static str,
    pub(crate) message: String,
    pub(crate) file: &'f str,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) length: u32,
    /// Why it is taken back, when it is.
    pub(crate) justification: Option<&'f str>,
}

/// Findings of the compiler. `root` is the policy folder as the repository names it (`policies`).
#[must_use]
pub fn check(diagnostics: &[Diagnostic], root: &str) -> String {
    let codes: BTreeMap<&'static str, &'static str> = diagnostics
        .iter()
        .map(|found| (found.code, diagnostic::title(found.code).unwrap_or(found.code)))
        .collect();
    let rules = codes.into_iter().map(|(id, title)| SarifRule {
        id,
        title,
        why: "",
        security_severity: None,
    });
    let results = diagnostics.iter().map(|found| {
        let fix = found
            .fix
            .as_deref()
            .map(|fix| format!("; {fix}"))
            .unwrap_or_default();
        SarifResult {
            rule: found.code,
            level: match found.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            message: format!("{}: {}{fix}", found.message, found.why),
            file: &found.file,
            line: found.line,
            column: found.column,
            length: found.length,
            justification: None,
        }
    });
    log(&rules.collect::<Vec<_>>(), results, root)
}

/// One run as a SARIF log.
pub(crate) fn log<'f>(
    rules: &[SarifRule],
    results: impl Iterator<Item = SarifResult<'f>>,
    root: &str,
) -> String {
    let results: Vec<Value> = results.map(|found| result(&found, rules, root)).collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "portico policy",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(rule).collect::<Vec<Value>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    // Only strings and numbers: this cannot fail.
    serde_json::to_string_pretty(&log).unwrap_or_default()
}

fn rule(rule: &SarifRule) -> Value {
    let mut written = json!({ "id": rule.id, "shortDescription": { "text": rule.title } });
    if !rule.why.is_empty() {
        set(&mut written, "fullDescription", json!({ "text": rule.why }));
    }
    if let Some(severity) = rule.security_severity {
        let properties = json!({ "security-severity": severity, "tags": ["security"] });
        set(&mut written, "properties", properties);
    }
    written
}

fn result(found: &SarifResult<'_>, rules: &[SarifRule], root: &str) -> Value {
    let mut written = json!({
        "ruleId": found.rule,
        "level": found.level,
        "message": { "text": found.message },
        "locations": [],
    });
    if let Some(index) = rules.iter().position(|rule| rule.id == found.rule) {
        set(&mut written, "ruleIndex", json!(index));
    }
    // A finding about the bundle as a whole has no file.
    if !found.file.is_empty() {
        let mut place = json!({ "artifactLocation": { "uri": uri(root, found.file) } });
        if found.line > 0 {
            let (line, column) = (found.line, found.column.max(1));
            let end = column.saturating_add(found.length.max(1));
            let region = json!({ "startLine": line, "startColumn": column, "endColumn": end });
            set(&mut place, "region", region);
        }
        set(&mut written, "locations", json!([{ "physicalLocation": place }]));
    }
    if let Some(justification) = found.justification {
        let suppression = json!([{ "kind": "inSource", "justification": justification }]);
        set(&mut written, "suppressions", suppression);
    }
    written
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(key.to_owned(), value);
    }
}

/// A relative reference (RFC 3986 §4.2) from the top of the repository.
fn uri(root: &str, file: &str) -> String {
    let root = root.trim_start_matches("./").trim_end_matches('/');
    let path = match root {
        "" | "." => file.to_owned(),
        root => format!("{root}/{file}"),
    };
    path.bytes()
        .map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
