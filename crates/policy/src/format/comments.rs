//! The comments of a policy file: every `#` that the strict reader saw outside of keys and values.

use crate::yaml::{Node, Value};
use std::ops::Range;

/// What may stand between words on a line.
pub(super) const BLANKS: [char; 2] = [' ', '\t'];

/// One comment, to the end of its line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comment<'t> {
    /// Where its `#` stands, in bytes from the start of the text.
    pub(super) at: usize,
    /// From the `#` on, without trailing blanks.
    pub(super) text: &'t str,
    /// Nothing else stands on its line.
    pub(super) is_whole_line: bool,
}

/// Every comment of `text`, of which `root` is the tree, in the order of the text.
pub(super) fn find<'t>(text: &'t str, root: &Node) -> Vec<Comment<'t>> {
    let mut values = Vec::new();
    collect(root, &mut values);
    values.sort_unstable_by_key(|range| range.start);
    let is_in_value = |at: usize| {
        let after = values.partition_point(|range| range.start <= at);
        let last = after.checked_sub(1).and_then(|index| values.get(index));
        last.is_some_and(|range| range.contains(&at))
    };
    let mut comments: Vec<Comment<'t>> = Vec::new();
    let mut end = 0;
    for (at, _) in text.match_indices('#') {
        if at < end || is_in_value(at) {
            continue;
        }
        let (before, rest) = text.split_at(at);
        if !before.is_empty() && !before.ends_with([' ', '\t', '\n']) {
            continue;
        }
        let line = rest.split('\n').next().unwrap_or(rest);
        end = at.saturating_add(line.len());
        let before = before.trim_end_matches(BLANKS);
        comments.push(Comment {
            at,
            text: line.trim_end_matches(BLANKS),
            is_whole_line: before.is_empty() || before.ends_with('\n'),
        });
    }
    comments
}

fn collect(node: &Node, values: &mut Vec<Range<usize>>) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| collect(item, values)),
        Value::Map(entries) => {
            for entry in entries {
                values.push(entry.key_source.clone());
                collect(&entry.value, values);
            }
        }
        // Of an empty block scalar, the place is that of its header, where a comment may stand.
        Value::Text(text) if text.is_empty() => {}
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => values.push(node.source.clone()),
    }
}
