//! Single values: when they need quotes, and how long ones are folded.

use crate::{
    diagnostic::Findings,
    source::SourceFile,
    text::hidden,
    yaml::{self, Value},
};

/// A value that is no collection.
#[derive(Debug)]
pub(super) enum Scalar {
    Null,
    /// A boolean or a number, as it is printed.
    Word(String),
    Text {
        text: String,
        style: Style,
    },
}

/// How a text was written.
#[derive(Debug)]
pub(super) enum Style {
    /// On one line, with or without quotes.
    Plain,
    /// After `|`.
    Literal,
    /// After `>`, in these lines.
    Folded(Vec<String>),
}

/// Where a text stands: what needs quotes differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Key,
    Value,
    Item,
}

/// The lines of a block scalar.
#[derive(Debug)]
pub(super) struct Block {
    /// `>-`, `|` and the like.
    pub(super) header: String,
    pub(super) lines: Vec<String>,
}

impl Scalar {
    /// A value of the tree.
    pub(super) fn new(value: &Value, style: Style) -> Self {
        match value {
            Value::Bool(value) => Self::Word(value.to_string()),
            Value::Number(number) => Self::Word(number.clone()),
            Value::Text(text) => Self::Text {
                text: text.clone(),
                style,
            },
            Value::Null | Value::List(_) | Value::Map(_) => Self::Null,
        }
    }

    /// The value on one line.
    pub(super) fn on_one_line(&self, role: Role, is_in_flow: bool) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Word(word) => word.clone(),
            Self::Text { text, .. } => spell(text, role, is_in_flow),
        }
    }

    /// The value in lines of its own, if it was written so and can be.
    pub(super) fn block(&self) -> Option<Block> {
        let Self::Text { text, style } = self else {
            return None;
        };
        match style {
            Style::Plain => None,
            Style::Literal => block('|', text, text.split('\n').map(str::to_owned).collect()),
            Style::Folded(lines) => block('>', text, lines.clone()),
        }
    }
}

/// A block scalar, where its first line shows the indentation and its end can be said by `-` or nothing.
fn block(style: char, text: &str, mut lines: Vec<String>) -> Option<Block> {
    let content = text.strip_suffix('\n').unwrap_or(text);
    let last = content.rsplit('\n').next()?;
    if content.starts_with(char::is_whitespace) || last.trim().is_empty() {
        return None;
    }
    let chomping = if content.len() == text.len() { "-" } else { "" };
    lines.truncate(lines.iter().rposition(|line| !line.is_empty())?.saturating_add(1));
    Some(Block {
        header: format!("{style}{chomping}"),
        lines,
    })
}

/// A text on one line, with quotes only where it needs them.
pub(super) fn spell(text: &str, role: Role, is_in_flow: bool) -> String {
    if !misleads(text, role) && reads_back(text, role, is_in_flow) {
        return text.to_owned();
    }
    let is_plain_in_single_quotes = text.contains(['"', '\\']) && !text.contains('\'');
    if is_plain_in_single_quotes && !text.chars().any(needs_escape) {
        return format!("'{text}'");
    }
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            // All of them are of the basic plane.
            letter if needs_escape(letter) => quoted.push_str(&match u32::from(letter) {
                number @ 0x1_0000.. => format!("\\U{number:08X}"),
                number => format!("\\u{number:04X}"),
            }),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// Words that older readers take for booleans.
const BOOLEANS_ONCE: [&str; 4] = ["yes", "no", "on", "off"];

/// Text that the strict reader takes as it is and a person or another reader may not: brackets, ports, `yes`, and colons
/// where a mapping could stand.
fn misleads(text: &str, role: Role) -> bool {
    let is_structure = |(at, _): (usize, &str)| {
        let rest = text.get(at.saturating_add(1)..).unwrap_or_default();
        rest.starts_with(|next: char| next.is_ascii_digit())
            || (role != Role::Value && !rest.starts_with("//"))
    };
    text.contains(['{', '}', '[', ']'])
        || BOOLEANS_ONCE.iter().any(|word| text.eq_ignore_ascii_case(word))
        || text.chars().any(needs_escape)
        || text.match_indices(':').any(is_structure)
}

/// Whether the strict reader takes a text without quotes for this very text.
fn reads_back(text: &str, role: Role, is_in_flow: bool) -> bool {
    let written = match (role, is_in_flow) {
        (Role::Key, false) => format!("{text}: 0"),
        (Role::Key, true) => format!("{{ {text}: 0 }}"),
        (Role::Value, false) => format!("key: {text}"),
        (Role::Value, true) => format!("{{ key: {text} }}"),
        (Role::Item, false) => format!("- {text}"),
        (Role::Item, true) => format!("[{text}]"),
    };
    let source = SourceFile::new("", written);
    let mut findings = Findings::default();
    let Some(root) = yaml::parse(0, &source, &mut findings) else {
        return false;
    };
    let is_text = |value: &Value| matches!(value, Value::Text(read) if read == text);
    match (&root.value, role) {
        (Value::Map(entries), Role::Key) => {
            entries.len() == 1 && entries.iter().all(|entry| entry.key == text)
        }
        (Value::Map(entries), Role::Value) => {
            entries.len() == 1 && entries.iter().all(|entry| is_text(&entry.value.value))
        }
        (Value::List(items), Role::Item) => items.len() == 1 && items.iter().all(|item| is_text(&item.value)),
        _ => false,
    }
}

/// Characters that cannot be seen, or that change the order in which others are seen.
fn needs_escape(letter: char) -> bool {
    letter == '\n' || letter == '\t' || hidden(letter).is_some()
}
