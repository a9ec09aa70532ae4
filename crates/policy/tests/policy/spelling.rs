//! YAML trees of any shape, written in any of the ways that YAML allows, with comments wherever they may stand.

use proptest::{collection::vec, prelude::*, sample::select};
use std::collections::BTreeMap;

/// A tree as policies have it.
#[derive(Debug, Clone)]
pub(crate) enum Tree {
    Null,
    /// A boolean or a number, as it is written.
    Word(&'static str),
    Text(String),
    List(Vec<Tree>),
    Map(BTreeMap<String, Tree>),
}

/// A text, and the comments that were written into it.
#[derive(Debug)]
pub(crate) struct Spelled {
    pub(crate) text: String,
    pub(crate) comments: Vec<String>,
}

/// Mappings of sections, names, known and unknown keys.
pub(crate) fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        6 => texts().prop_map(Tree::Text),
        2 => select(vec!["1", "64", "-3", "0x1f", "1e3", "1.2", "true", "false", "True"]).prop_map(Tree::Word),
        1 => Just(Tree::Null),
    ];
    let tree = leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Tree::List),
            vec((keys(), inner), 0..5).prop_map(|entries| Tree::Map(entries.into_iter().collect())),
        ]
    });
    vec((keys(), tree), 0..6).prop_map(|entries| Tree::Map(entries.into_iter().collect()))
}

fn keys() -> impl Strategy<Value = String> {
    let known = vec![
        "version",
        "environment",
        "listeners",
        "floor",
        "routes",
        "rates",
        "match",
        "auth",
        "because",
        "rate",
        "limits",
        "headers",
        "body",
        "limit",
        "burst",
        "key",
        "bind",
        "tls",
        "min",
        "core",
        "per-address",
    ];
    prop_oneof![
        4 => select(known).prop_map(str::to_owned),
        1 => texts(),
    ]
}

/// Texts that policies hold, and texts that YAML reads in other ways.
const WRITTEN: [&str; 66] = [
    "GET",
    "/api/v1/accounts/{id}",
    "accounts:read",
    "unix:core-api.sock",
    "0.0.0.0:443",
    "[::1]",
    "https://a.example",
    "https://a.example:8443",
    "1.2",
    "1",
    "true",
    "null",
    "~",
    "yes",
    "",
    " ",
    "*",
    "&a",
    "!x",
    "- a",
    "a: b",
    "a #b",
    "a#b",
    "#",
    "'",
    "\"",
    "\\",
    "it's \"so\"",
    "default-src 'none'; img-src data:;",
    "max-age=1; x",
    "a, b",
    "{",
    "%",
    "@",
    "`",
    "---",
    "...",
    "?",
    "? a",
    ":",
    "a:",
    "|",
    ">-",
    ">",
    "a  b",
    " a",
    "a ",
    "a\tb",
    "tab\t",
    "\u{feff}",
    "é",
    "日本語",
    "🦀 crab",
    "\u{e9}x",
    "a\u{85}b",
    "a\u{2028}b",
    "a\r\nb",
    "2026-01-01",
    "<<",
    "=",
    ".inf",
    "0o7",
    "{{ x }}",
    "\"{{",
    "it's {% x",
    "a {{b}}",
];

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(WRITTEN.to_vec()).prop_map(str::to_owned),
        2 => "[a-z]{1,8}( [a-z']{1,9}){0,25}",
        1 => "( {0,2}[a-z#:]{0,6}\n{0,2}){0,4}",
        1 => "[a-z ]{1,6}(\n[a-z]{1,4}){1,3}\n?",
        1 => "\\PC{0,12}",
    ]
}

/// Writes `tree` as `choices` say.
pub(crate) fn spell(tree: &Tree, choices: &[u8]) -> Spelled {
    let mut writer = Writer {
        choices,
        next: 0,
        text: String::new(),
        comments: Vec::new(),
        deepest_comment: usize::MAX,
    };
    if writer.is_chosen(8) {
        writer.text.push('\u{feff}');
    }
    writer.whole_lines(0);
    if writer.is_chosen(6) {
        writer.text.push_str("---");
        writer.end_of_line(true);
    }
    match tree {
        Tree::Map(entries) if !entries.is_empty() => {
            let indent = writer.pick(3);
            writer.block_map(entries, indent);
        }
        other => {
            writer.flow(other, 1);
            writer.end_of_line(true);
        }
    }
    writer.whole_lines(0);
    let text = match writer.pick(4) {
        0 => writer.text.replace('\n', "\r\n"),
        1 => writer.text.trim_end_matches('\n').to_owned(),
        _ => writer.text,
    };
    Spelled {
        text,
        comments: writer.comments,
    }
}

struct Writer<'c> {
    choices: &'c [u8],
    next: usize,
    text: String,
    comments: Vec<String>,
    /// Deeper than this, a comment would be text of the block scalar above it.
    deepest_comment: usize,
}

impl Writer<'_> {
    /// A number below `of`.
    fn pick(&mut self, of: usize) -> usize {
        self.next += 1;
        let choice = self.choices.get(self.next % self.choices.len().max(1));
        usize::from(choice.copied().unwrap_or_default()) % of
    }

    /// True once in so many times.
    fn is_chosen(&mut self, times: usize) -> bool {
        self.pick(times) == 1
    }

    fn one_of<const N: usize>(&mut self, texts: [&str; N]) {
        let text = texts[self.pick(N)];
        self.text.push_str(text);
    }

    fn comment(&mut self) {
        let number = self.comments.len();
        let tail = ["", " it's \"quoted\"", ": [x, {", "\ttab", " é # more", " >-"][self.pick(6)];
        let comment = format!("# {number}.{tail}");
        self.text.push_str(&comment);
        self.comments.push(comment);
        if self.is_chosen(3) {
            self.text.push_str(" \t ");
        }
    }

    /// Blank lines and whole-line comments.
    fn whole_lines(&mut self, indent: usize) {
        for _ in 0..[0, 0, 0, 1, 1, 2, 3][self.pick(7)] {
            let column = match self.pick(3) {
                0 => self.pick(10),
                _ => indent,
            };
            self.text.push_str(&" ".repeat(column.min(self.deepest_comment)));
            if self.pick(3) > 0 {
                self.comment();
            }
            self.text.push('\n');
        }
    }

    /// The end of a line, perhaps with a comment.
    fn end_of_line(&mut self, may_comment: bool) {
        if may_comment && self.is_chosen(4) {
            self.one_of([" ", "  ", "\t", "        "]);
            self.comment();
        } else if may_comment && self.is_chosen(5) {
            self.text.push_str("  ");
        }
        self.text.push('\n');
    }

    fn indent(&mut self, indent: usize) {
        self.text.push_str(&" ".repeat(indent));
        self.deepest_comment = usize::MAX;
    }

    fn block_map(&mut self, entries: &BTreeMap<String, Tree>, indent: usize) {
        for (key, value) in entries {
            self.whole_lines(indent);
            self.indent(indent);
            self.entry(key, value, indent);
        }
    }

    fn entry(&mut self, key: &str, value: &Tree, indent: usize) {
        self.on_one_line(key);
        self.one_of([":", ":", ":", " :"]);
        self.value(value, indent);
    }

    /// What stands behind `key:`.
    fn value(&mut self, value: &Tree, indent: usize) {
        let deeper = indent + 1 + self.pick(4);
        match value {
            Tree::Map(entries) if !entries.is_empty() && self.pick(3) > 0 => {
                self.end_of_line(true);
                self.block_map(entries, deeper);
            }
            Tree::List(items) if !items.is_empty() && self.pick(3) > 0 => {
                self.end_of_line(true);
                let at = if self.is_chosen(3) { indent } else { deeper };
                self.block_list(items, at);
            }
            Tree::Null if self.is_chosen(2) => self.end_of_line(true),
            other => {
                if self.is_chosen(6) {
                    self.end_of_line(true);
                    self.whole_lines(deeper);
                    self.indent(deeper);
                } else {
                    self.one_of([" ", " ", "   ", "\t"]);
                }
                self.flow_or_scalar(other, indent, deeper);
            }
        }
    }

    fn block_list(&mut self, items: &[Tree], indent: usize) {
        for item in items {
            self.whole_lines(indent);
            self.indent(indent);
            self.text.push('-');
            match item {
                Tree::Map(entries) if !entries.is_empty() && self.pick(4) > 0 => {
                    let blanks = 1 + self.pick(3);
                    let at = indent + 1 + blanks;
                    let mut entries: Vec<_> = entries.iter().collect();
                    if self.is_chosen(4) {
                        self.end_of_line(true);
                    } else {
                        let (key, value) = entries.remove(0);
                        self.text.push_str(&" ".repeat(blanks));
                        self.entry(key, value, at);
                    }
                    for (key, value) in entries {
                        self.whole_lines(at);
                        self.indent(at);
                        self.entry(key, value, at);
                    }
                }
                Tree::List(inner) if !inner.is_empty() && self.pick(4) > 0 => {
                    self.end_of_line(true);
                    self.block_list(inner, indent + 2);
                }
                other => {
                    self.text.push(' ');
                    self.flow_or_scalar(other, indent, indent + 2);
                }
            }
        }
    }

    fn flow_or_scalar(&mut self, value: &Tree, indent: usize, deeper: usize) {
        match value {
            Tree::Text(text) if self.is_chosen(3) && self.block_scalar(text, indent) => {}
            Tree::Text(text) if self.is_chosen(3) => {
                self.quoted(text);
                self.end_of_line(true);
            }
            other => {
                self.flow(other, deeper);
                self.end_of_line(true);
            }
        }
    }

    /// A literal or folded text, when it can be one.
    fn block_scalar(&mut self, text: &str, indent: usize) -> bool {
        let content = text.trim_end_matches('\n');
        let is_printable = |letter: char| letter == '\n' || (!letter.is_control() && !is_odd(letter));
        if content.trim().is_empty() || !text.chars().all(is_printable) {
            return false;
        }
        let is_indented = content.trim_start_matches('\n').starts_with(' ');
        let is_folded =
            self.is_chosen(2) && !content.contains('\n') && !is_indented && !content.contains("  ");
        if is_indented && !text.ends_with('\n') && content.ends_with(' ') {
            return false;
        }
        let chomping = match text.len() - content.len() {
            0 => "-",
            1 => "",
            _ => "+",
        };
        let depth = 1 + self.pick(4);
        let indicator = if is_indented {
            depth.to_string()
        } else {
            String::new()
        };
        self.text.push(if is_folded { '>' } else { '|' });
        self.text.push_str(&format!("{indicator}{chomping}"));
        self.end_of_line(true);
        let lines: Vec<String> = if is_folded {
            let is_split = self.is_chosen(2);
            if is_split && !content.starts_with(' ') && !content.ends_with(' ') {
                content.split(' ').map(str::to_owned).collect()
            } else {
                vec![content.to_owned()]
            }
        } else {
            text.strip_suffix('\n')
                .unwrap_or(text)
                .split('\n')
                .map(str::to_owned)
                .collect()
        };
        for line in lines {
            if !line.is_empty() {
                self.text.push_str(&" ".repeat(indent + depth));
            }
            self.text.push_str(&line);
            self.text.push('\n');
        }
        self.deepest_comment = indent;
        true
    }

    /// A value in brackets, quotes or as it is; `indent` is for lines that are begun.
    fn flow(&mut self, value: &Tree, indent: usize) {
        match value {
            Tree::Null => self.one_of(["~", "null"]),
            Tree::Word(word) => self.text.push_str(word),
            Tree::Text(text) => self.on_one_line(text),
            Tree::List(items) => {
                self.text.push('[');
                self.flow_space(indent);
                for (index, item) in items.iter().enumerate() {
                    self.flow(item, indent + 1);
                    self.comma(indent, index + 1 == items.len());
                }
                self.text.push(']');
            }
            Tree::Map(entries) => {
                self.text.push('{');
                self.flow_space(indent);
                for (index, (key, item)) in entries.iter().enumerate() {
                    self.on_one_line(key);
                    self.text.push_str(": ");
                    self.flow(item, indent + 1);
                    self.comma(indent, index + 1 == entries.len());
                }
                self.text.push('}');
            }
        }
    }

    fn comma(&mut self, indent: usize, is_last: bool) {
        if self.is_chosen(6) {
            self.flow_space(indent);
        }
        if !is_last || self.is_chosen(4) {
            self.text.push(',');
        }
        self.flow_space(indent);
    }

    /// Blanks, or a new line with comments on the way.
    fn flow_space(&mut self, indent: usize) {
        match self.pick(8) {
            0 => {
                self.end_of_line(true);
                self.whole_lines(indent);
                self.indent(indent);
            }
            1 | 2 => {}
            _ => self.text.push(' '),
        }
    }

    fn on_one_line(&mut self, text: &str) {
        let is_plain = text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.chars().all(|letter| {
                letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-/_. ".contains(letter)
            })
            && !["true", "false", "null"].contains(&text)
            && !text.ends_with(' ');
        if is_plain && self.pick(4) > 0 {
            self.text.push_str(text);
        } else {
            self.quoted(text);
        }
    }

    /// Text in quotes.
    fn quoted(&mut self, text: &str) {
        let is_single =
            self.is_chosen(2) && text.chars().all(|letter| !letter.is_control() && !is_odd(letter));
        let mut quoted = String::new();
        for letter in text.chars() {
            match letter {
                '\'' if is_single => quoted.push_str("''"),
                letter if is_single => quoted.push(letter),
                '"' | '\\' => quoted.extend(['\\', letter]),
                letter if letter.is_control() || is_odd(letter) => {
                    quoted.push_str(&format!("\\U{:08X}", u32::from(letter)));
                }
                letter => quoted.push(letter),
            }
        }
        let mark = if is_single { '\'' } else { '"' };
        self.text.push_str(&format!("{mark}{quoted}{mark}"));
    }
}

/// What a reader could not see or would take for something else; the policy language wants it escaped.
fn is_odd(letter: char) -> bool {
    let is_letter =
        letter.is_alphanumeric() && !matches!(letter, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}');
    !letter.is_ascii() && !is_letter
}
