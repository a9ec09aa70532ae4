//! YAML text to a tree in which every key and value knows its place.
//!
//! **Invariant:** what the parser would accept and a reader could take for something else (anchors, tags, merge keys,
//! text that runs on over lines, a second document) is a finding, and the tree is built from the first document alone.

mod lines;
mod scalar;
mod syntax;
mod template;
mod tree;

use crate::{
    diagnostic::{Findings, Span},
    source::SourceFile,
    text,
};
use granit_parser::Parser;
use std::ops::Range;

/// Most events of the parser in one file.
const MAX_EVENTS: usize = 100_000;
/// Deepest nesting of lists and mappings.
const MAX_DEPTH: usize = 24;

/// One value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) at: Span,
    /// The bytes it is written in: all of a single value, the bracket of a flow collection, nothing of a block one.
    pub(crate) source: Range<usize>,
}

/// What a value is. Numbers stay text: their meaning depends on the key.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a mapping.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: Span,
    /// The bytes of the key.
    pub(crate) key_source: Range<usize>,
    pub(crate) value: Node,
}

impl Value {
    /// The kind of value in words, for messages.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// Parses one file. What is wrong goes to `findings`; the tree comes back when there is one to look at.
pub(crate) fn parse(file: usize, source: &SourceFile, findings: &mut Findings) -> Option<Node> {
    if !text::is_readable(file, source, findings) {
        return None;
    }
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_unresolved_aliases: true,
        emit_anchor_events: true,
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let before = findings.len();
    let mut tree = tree::Tree::new(file, &source.text);
    for event in Parser::new_from_str_with_options(&source.text, options) {
        match event {
            Ok((event, at)) => {
                if tree.take(event, &at, findings).is_break() {
                    break;
                }
            }
            Err(error) => {
                // What came before it was read wrongly for the same reason.
                findings.forget_from(before);
                syntax::report(file, &source.text, &error, findings);
                return None;
            }
        }
    }
    tree.finish()
}
