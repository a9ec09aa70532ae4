//! `format`: one canonical form for policy files, comments kept.

mod attach;
mod comments;
mod layout;
mod order;
mod print;
mod scalar;
mod tree;

use crate::{
    diagnostic::{Diagnostic, Findings},
    source::SourceFile,
    yaml::{self, Node, Value},
};
use comments::Comment;
use std::{collections::HashMap, fmt};

/// Why a file keeps its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unformatted {
    /// It is not YAML as the policy language has it.
    Findings(Vec<Diagnostic>),
    /// The result would not say the same. This is a fault of the formatter, never of the file.
    Fault(String),
}

/// The canonical text of a policy file: same tree, same comments, one way to write it.
///
/// A file that breaks other rules of the language is formatted all the same; keys that it does not have come last.
///
/// # Errors
/// [`Unformatted`] when the strict reader refuses the file, or would read something else from the result.
pub fn format(source: &SourceFile) -> Result<String, Unformatted> {
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    // A CR within a line is no line break for the strict reader: what it hides in a comment must not come to life.
    let lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
    let plain = SourceFile {
        text: lines.collect::<Vec<_>>().join("\n"),
        ..source.clone()
    };
    let root = read(&plain).map_err(Unformatted::Findings)?;
    let comments = comments::find(&plain.text, &root);
    let mut document = attach::build(&plain.text, &root, &comments);
    order::arrange(&mut document);
    let result = SourceFile::new(source.name.clone(), print::print(&document));
    prove(&root, &comments, &result)?;
    Ok(result.text)
}

/// Reads the result again: it must hold the same values and the same comments.
fn prove(before: &Node, comments: &[Comment<'_>], result: &SourceFile) -> Result<(), Unformatted> {
    let after = read(result).map_err(|found| fault("the result", &found))?;
    if !is_same(before, &after) {
        return Err(Unformatted::Fault(
            "the result would have other values".to_owned(),
        ));
    }
    if texts(comments) != texts(&comments::find(&result.text, &after)) {
        return Err(Unformatted::Fault(
            "the result would have other comments".to_owned(),
        ));
    }
    Ok(())
}

fn read(source: &SourceFile) -> Result<Node, Vec<Diagnostic>> {
    let mut findings = Findings::default();
    let root = yaml::parse(0, source, &mut findings);
    let diagnostics = findings.into_diagnostics(std::slice::from_ref(source));
    root.filter(|_| diagnostics.is_empty()).ok_or(diagnostics)
}

fn fault(what: &str, found: &[Diagnostic]) -> Unformatted {
    let message = found
        .first()
        .map_or("refused", |finding| finding.message.as_str());
    Unformatted::Fault(format!("{what} is not read any more: {message}"))
}

/// The same values under the same keys, wherever they stand.
fn is_same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Number(one), Value::Number(other)) | (Value::Text(one), Value::Text(other)) => one == other,
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Map(one), Value::Map(other)) => {
            let others: HashMap<&str, &Node> = other
                .iter()
                .map(|entry| (entry.key.as_str(), &entry.value))
                .collect();
            let has_same =
                |key: &str, value| others.get(key).is_some_and(|other: &&Node| is_same(value, other));
            one.len() == other.len() && one.iter().all(|entry| has_same(&entry.key, &entry.value))
        }
        _ => false,
    }
}

fn texts<'t>(comments: &[Comment<'t>]) -> Vec<&'t str> {
    let mut texts: Vec<&str> = comments.iter().map(|comment| comment.text).collect();
    texts.sort_unstable();
    texts
}

impl fmt::Display for Unformatted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Findings(found) => write!(f, "{} findings", found.len()),
            Self::Fault(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Unformatted {}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> SourceFile {
        SourceFile::new("", text)
    }

    #[test]
    fn what_a_comment_hides_does_not_come_to_life() {
        let text = "version: 1\n# note\rhosts: [a.example]\n";
        assert!(matches!(format(&file(text)), Err(Unformatted::Findings(_))));
    }

    #[test]
    fn a_result_that_says_something_else_is_a_fault() {
        let source = "a: [1, x] # one\nb: { c: 1, d: true }\n# two\n";
        let before = read(&file(source)).unwrap();
        let comments = comments::find(source, &before);
        let prove = |result: &str| prove(&before, &comments, &file(result));
        assert_eq!(prove("# two\nb: { d: true, c: 1 }\na: [1, 'x'] # one\n"), Ok(()));
        for wrong in [
            "a: [1, x]\nb: { c: 1, d: true }\n# two\n",
            "a: [1, x] # one\nb: { c: 1, d: true }\n# two\n# two\n",
            "a: [x, 1] # one\nb: { c: 1, d: true }\n# two\n",
            "a: [1] # one\nb: { c: 1, d: true }\n# two\n",
            "a: ['1', x] # one\nb: { c: 1, d: true }\n# two\n",
            "a: [1, x] # one\nb: { c: 1 }\n# two\n",
            "a: [1, x] # one\nb: { c: 1, d: true, e: 1 }\n# two\n",
            "a: [1, x # one\nb: { c: 1, d: true }\n# two\n",
        ] {
            assert!(matches!(prove(wrong), Err(Unformatted::Fault(_))), "{wrong}");
        }
    }
}
