//! Rules over the source tree itself: what reviewers should not have to look for.
//!
//! Each rule is a pure function from text to [`Finding`]s, with a self-test beside it that shows the rule fires on a
//! bad sample and stays silent on a good one. `tests/tree.rs` runs every rule over the files git would commit,
//! `tests/deploy.rs` checks that `deploy/` agrees with the built binary.
#![warn(missing_docs)]

pub mod documents;
pub mod graph;
pub mod machine_paths;
pub mod manifests;
pub mod rules;
pub mod rust_source;
pub mod skips;
pub mod tree;

use std::fmt;

/// One place where the tree breaks one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where: `path` or `path:line`, relative to the repository root.
    pub place: String,
    /// What is wrong and what to do instead.
    pub message: String,
}

impl Finding {
    /// A finding about a whole file or crate.
    pub fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            message: message.into(),
        }
    }

    /// A finding about one line; `index` counts from zero, as iterators do.
    pub fn at_line(path: &str, index: usize, message: impl Into<String>) -> Self {
        Self::new(format!("{path}:{}", index.saturating_add(1)), message)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.message)
    }
}

/// Everything found, one line each, as a test failure shows it.
pub fn report(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("\n  {finding}")).collect()
}
