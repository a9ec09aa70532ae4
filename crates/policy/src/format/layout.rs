//! What the text says beyond the tree: columns, blank lines, brackets, and how a scalar is spelled.

use super::{
    comments::{BLANKS, Comment},
    scalar::Style,
};
use crate::yaml::{Entry, Node, Value};

/// A text and its comments.
pub(super) struct Layout<'t, 'c> {
    pub(super) text: &'t str,
    pub(super) comments: &'c [Comment<'t>],
}

impl<'t> Layout<'t, '_> {
    /// Whether the line above the one of `at` is blank.
    pub(super) fn is_below_blank_line(&self, at: usize) -> bool {
        let before = self.text.get(..at).unwrap_or_default();
        // In a list, the dash stands between.
        let before = before.trim_end_matches([' ', '\t', '-']);
        let above = before
            .strip_suffix('\n')
            .map(|above| above.trim_end_matches(BLANKS));
        above.is_some_and(|above| above.is_empty() || above.ends_with('\n'))
    }

    /// Column in bytes, from 1.
    pub(super) fn column(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        line.len().saturating_add(1)
    }

    /// The text from there on.
    pub(super) fn rest(&self, from: usize) -> &'t str {
        self.text.get(from..).unwrap_or_default()
    }

    /// The bracket that closes a flow collection, looked for behind its last value.
    pub(super) fn closing_bracket(&self, from: usize) -> usize {
        let mut in_comment = 0;
        for (index, letter) in self.rest(from).char_indices() {
            let at = from.saturating_add(index);
            if at < in_comment {
                continue;
            }
            match letter {
                ']' | '}' => return at,
                '#' => in_comment = self.end_of_comment(at),
                _ => {}
            }
        }
        self.text.len()
    }

    fn end_of_comment(&self, at: usize) -> usize {
        let found = self.comments.binary_search_by_key(&at, |comment| comment.at);
        let comment = found.ok().and_then(|found| self.comments.get(found));
        at.saturating_add(comment.map_or(0, |comment| comment.text.len()))
    }

    /// How a text is spelled in the source.
    pub(super) fn style(&self, node: &Node) -> Style {
        let written = self.text.get(node.source.clone()).unwrap_or_default();
        match self.block_header(node.source.start) {
            Some((_, header)) if header.starts_with('|') => Style::Literal,
            Some(_) => Style::Folded(self.folded_lines(node, written)),
            None => Style::Plain,
        }
    }

    /// The header of a block scalar, from its `|` or `>` on, when it is the last thing before `start`.
    fn block_header(&self, start: usize) -> Option<(usize, &'t str)> {
        let mut before = self.text.get(..start)?.trim_end();
        let last = self
            .comments
            .partition_point(|comment| comment.at < start)
            .checked_sub(1);
        let last = last.and_then(|last| self.comments.get(last));
        if let Some(comment) = last.filter(|comment| before.ends_with(comment.text)) {
            if comment.is_whole_line {
                return None;
            }
            before = self.text.get(..comment.at)?.trim_end();
        }
        let header = before.rsplit(char::is_whitespace).next()?;
        let mut letters = header.chars();
        let is_header = matches!(letters.next(), Some('|' | '>'))
            && letters.all(|letter| letter.is_ascii_digit() || matches!(letter, '+' | '-'));
        is_header.then(|| (before.len().saturating_sub(header.len()), header))
    }

    /// The lines of a block scalar, without its indentation.
    fn folded_lines(&self, node: &Node, written: &str) -> Vec<String> {
        let indent = self.column(node.source.start).saturating_sub(1);
        let outdent = |line: &str| {
            let blanks = line.chars().take(indent).take_while(|letter| *letter == ' ');
            line.get(blanks.count()..).unwrap_or_default().to_owned()
        };
        let whole = format!("{:indent$}{written}", "");
        whole.split('\n').map(outdent).collect()
    }

    /// Where an entry begins, or an item behind its dash.
    pub(super) fn start(&self, (entry, node): (Option<&Entry>, &Node)) -> usize {
        let header = self.block_header(node.source.start);
        match (entry, &node.value, header) {
            (Some(entry), ..) => entry.key_source.start,
            (None, Value::Text(_), Some((at, _))) => at,
            (None, ..) => node.source.start,
        }
    }
}
