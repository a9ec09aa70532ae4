//! What came of running cases, for people and for machines.

use super::{Difference, Failure, Report};
use crate::{
    Diagnostic, SourceFile,
    render::{self, visible},
};
use serde_json::{Value, json};
use std::fmt::Write;

/// Each failing case with what was expected, what was got and every phase of its request; routes without cases; and
/// one line that sums up. `untested` is [`Report::untested`], or `None` when not every case was meant to run.
#[must_use]
pub fn human(report: &Report, untested: Option<&[Diagnostic]>, policies: &[SourceFile]) -> String {
    let mut text = String::new();
    for failure in &report.failures {
        // Writing to a String cannot fail.
        let _ = one(&mut text, failure);
    }
    text.push_str(&render::findings(untested.unwrap_or_default(), policies));
    text.push_str(&summary(report, untested));
    text
}

fn one(text: &mut String, failure: &Failure) -> std::fmt::Result {
    writeln!(
        text,
        "{}:{}:{}: {} fails in {}",
        failure.file, failure.line, failure.column, failure.case, failure.environment
    )?;
    for difference in &failure.differences {
        let Difference {
            key, expected, got, ..
        } = difference;
        writeln!(
            text,
            "  {key}: expected {}, got {}",
            visible(expected),
            visible(got)
        )?;
    }
    writeln!(text, "\n  {}\n", visible(&failure.request))?;
    writeln!(text, "{}", render::trace(&failure.trace))
}

fn summary(report: &Report, untested: Option<&[Diagnostic]>) -> String {
    let ran = report.ran;
    let cases = if ran == 1 { "case" } else { "cases" };
    let mut failed: Vec<&str> = report
        .failures
        .iter()
        .map(|failure| failure.case.as_str())
        .collect();
    failed.dedup();
    match (failed.len(), untested) {
        (0, None) if ran == 1 => "1 case passes".to_owned(),
        (0, None) => format!("{ran} {cases} pass"),
        (0, Some([])) => format!("{ran} {cases} pass; every route has a permit and a deny case"),
        (0, Some(findings)) => {
            let missing = findings.len();
            let missing_cases = if missing == 1 { "case is" } else { "cases are" };
            format!("{ran} {cases} pass; {missing} {missing_cases} missing")
        }
        (failed, _) => format!("{failed} of {ran} {cases} failed"),
    }
}

/// The same as JSON: `ran`, `failures` and, when every case was meant to run, `untested`.
#[must_use]
pub fn json(report: &Report, untested: Option<&[Diagnostic]>) -> String {
    let failures: Vec<Value> = report.failures.iter().map(failure).collect();
    let report = json!({ "ran": report.ran, "failures": failures, "untested": untested });
    // Only strings and numbers: this cannot fail.
    serde_json::to_string_pretty(&report).unwrap_or_default()
}

fn failure(failure: &Failure) -> Value {
    let differences: Vec<Value> = failure
        .differences
        .iter()
        .map(|it| json!({ "key": it.key, "expected": it.expected, "got": it.got, "line": it.line }))
        .collect();
    let trace: Vec<Value> = failure
        .trace
        .iter()
        .map(|it| {
            json!({
                "phase": it.phase.as_str(), "result": it.result.as_str(), "rule": it.rule.as_str(), "detail": it.detail,
            })
        })
        .collect();
    json!({
        "case": failure.case, "environment": failure.environment, "file": failure.file, "line": failure.line,
        "column": failure.column, "request": failure.request, "differences": differences, "trace": trace,
    })
}
