//! Findings as text for people and as JSON for machines.

use crate::{Diagnostic, PhaseTrace, Severity, SourceFile, diagnostic::legible, secret};
use std::fmt::Write;

/// Widest piece of a line that is shown, in characters.
const WIDTH: usize = 140;
/// What stands for a line that is not shown.
const HIDDEN: &str = "(not shown: it looks like a secret)";

/// Findings with their line, a caret under the place, why it matters and the fix.
#[must_use]
pub fn findings(diagnostics: &[Diagnostic], files: &[SourceFile]) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        let label = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        text.push_str(&finding(label, diagnostic, files));
    }
    text
}

/// The findings about a policy, and how many errors keep it from being used.
#[must_use]
pub fn human(diagnostics: &[Diagnostic], files: &[SourceFile]) -> String {
    let mut text = findings(diagnostics, files);
    let errors = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .count();
    if errors > 0 {
        let plural = if errors == 1 { "" } else { "s" };
        let _ = writeln!(text, "{errors} error{plural}; the policy is not accepted");
    }
    text
}

/// Findings as a JSON array; the members are those of [`Diagnostic`].
#[must_use]
pub fn json(diagnostics: &[Diagnostic]) -> String {
    // Only strings and numbers: this cannot fail.
    serde_json::to_string_pretty(diagnostics).unwrap_or_default()
}

/// Every phase that ran, the line that decided it, and what happened there: two lines a phase.
#[must_use]
pub fn trace(phases: &[PhaseTrace]) -> String {
    let mut text = String::new();
    for phase in phases {
        let (name, result) = (phase.phase.as_str(), phase.result.as_str());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<15} {result:<9} {}", phase.rule);
        let _ = writeln!(text, "  {:<15} {:<9}   {}", "", "", phase.detail);
    }
    text
}

/// One finding under a label such as `error`.
pub(crate) fn finding(label: &str, diagnostic: &Diagnostic, files: &[SourceFile]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = one(&mut text, label, diagnostic, files);
    text
}

fn one(text: &mut String, label: &str, diagnostic: &Diagnostic, files: &[SourceFile]) -> std::fmt::Result {
    writeln!(text, "{label}[{}]: {}", diagnostic.code, diagnostic.message)?;
    let number = diagnostic.line.to_string();
    let gutter = " ".repeat(number.len());
    match (diagnostic.file.as_str(), diagnostic.line) {
        ("", _) => {}
        (file, 0) => writeln!(text, "{gutter}--> {}", visible(file))?,
        (file, line) => writeln!(text, "{gutter}--> {}:{line}:{}", visible(file), diagnostic.column)?,
    }
    let fix = diagnostic.fix.as_deref().unwrap_or_default();
    let line = source_line(diagnostic, files);
    if line.is_none() && is_secret(diagnostic, files) {
        writeln!(text, "{gutter} |")?;
        writeln!(text, "{number} | {HIDDEN}")?;
    }
    match line {
        Some((line, before)) => {
            let left = line.chars().count().saturating_sub(before).max(1);
            let carets = usize::try_from(diagnostic.length).unwrap_or(1).clamp(1, left);
            writeln!(text, "{gutter} |")?;
            writeln!(text, "{number} | {line}")?;
            let marks = format!("{}{} {fix}", " ".repeat(before), "^".repeat(carets));
            writeln!(text, "{gutter} | {}", marks.trim_end())?;
        }
        None if !fix.is_empty() => writeln!(text, "{gutter} = fix: {fix}")?,
        None => {}
    }
    if let Some(related) = &diagnostic.related {
        let place = format!("{}:{}:{}", visible(&related.file), related.line, related.column);
        writeln!(text, "{gutter} = {}: {place}", related.message)?;
    }
    if !diagnostic.why.is_empty() {
        writeln!(text, "{gutter} = {}", diagnostic.why)?;
    }
    writeln!(text)
}

/// The line of the finding, cut to a readable piece, and how many characters of it come before the caret. None of a
/// line with a secret in it.
fn source_line(diagnostic: &Diagnostic, files: &[SourceFile]) -> Option<(String, usize)> {
    let file = files.iter().find(|file| file.name == diagnostic.file)?;
    let index = usize::try_from(diagnostic.line).ok()?.checked_sub(1)?;
    let line = file.text.lines().nth(index)?;
    if is_secret(diagnostic, files) {
        return None;
    }
    let before = usize::try_from(diagnostic.column).ok()?.checked_sub(1)?;
    let is_long = line.chars().nth(WIDTH).is_some();
    let from = if is_long {
        before.saturating_sub(WIDTH / 2)
    } else {
        0
    };
    let piece: String = line.chars().skip(from).take(WIDTH).map(legible).collect();
    Some((piece, before.saturating_sub(from)))
}

fn is_secret(diagnostic: &Diagnostic, files: &[SourceFile]) -> bool {
    let file = files.iter().find(|file| file.name == diagnostic.file);
    file.is_some_and(|file| !secret::of_line(&file.text, diagnostic.line, diagnostic.column).is_empty())
}

/// The text of a policy file with every line hidden in which something looks like a secret.
#[must_use]
pub fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (line, is_secret) in text.split_inclusive('\n').zip(secret::lines(text)) {
        if is_secret {
            let indentation = line.len().saturating_sub(line.trim_start().len());
            shown.push_str(line.get(..indentation).unwrap_or_default());
            shown.push_str(HIDDEN);
            shown.push('\n');
        } else {
            shown.push_str(line);
        }
    }
    shown
}

/// Text without what hides or drives a terminal: a policy file is not trusted to hold what is safe for one.
#[must_use]
pub fn visible(text: &str) -> String {
    text.chars().map(legible).collect()
}
