//! YAML text to a tree in which every key and value knows its place.
//!
//! The strict parse (duplicate keys, merge keys, tags, aliases and budgets are errors) is the gate. A second,
//! lenient parse happens only to name every duplicate at once; it never makes a bundle acceptable.

use crate::{
    diagnostic::{Findings, Span, code},
    source::SourceFile,
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{
    Error as YamlError, Options, Spanned,
    budget::BudgetBreach,
    options::{DuplicateKeyPolicy, MergeKeyPolicy},
};
use std::{collections::HashMap, fmt, ops::Range};

/// Largest policy file, in bytes.
const MAX_FILE_BYTES: usize = 256 * 1024;

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
    let whole_file = Span::whole(file);
    if source.text.len() > MAX_FILE_BYTES {
        findings
            .error(
                code::FILE_TOO_LARGE,
                whole_file,
                format!("file is larger than {MAX_FILE_BYTES} bytes"),
            )
            .why("a policy that large cannot be reviewed, and parsing it would cost every reload")
            .fix("split it: each section may be spread over several files");
        return None;
    }
    let strict =
        serde_saphyr::from_str_with_options::<Spanned<Raw>>(&source.text, options(DuplicateKeyPolicy::Error));
    let place = Place {
        file,
        text: &source.text,
    };
    match strict {
        Ok(raw) => Some(place.node(raw, findings)),
        Err(error) => place.after_refusal(&error, findings),
    }
}

fn options(duplicate_keys: DuplicateKeyPolicy) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 100_000,
            max_aliases: 0,
            max_anchors: 0,
            max_depth: 24,
            max_documents: 1,
            flow_nesting_limit: 16,
        },
        duplicate_keys: duplicate_keys,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn report(file: usize, error: &YamlError, findings: &mut Findings) {
    let at = error.location().map_or_else(
        || Span::whole(file),
        |location| Span {
            file,
            line: u32::try_from(location.line()).unwrap_or(0),
            column: u32::try_from(location.column()).unwrap_or(0),
            length: 1,
        },
    );
    let error = error.without_snippet();
    match error {
        YamlError::MergeKeyNotAllowed { .. } => findings
            .error(
                code::NOT_IN_LANGUAGE,
                at,
                "merge keys (`<<`) are not part of the policy language",
            )
            .why("what a route enforces must be readable where it stands")
            .fix("write the keys out"),
        YamlError::Budget {
            breach: BudgetBreach::Anchors { .. },
            ..
        }
        | YamlError::UnknownAnchor { .. } => findings
            .error(
                code::NOT_IN_LANGUAGE,
                at,
                "anchors and aliases (`&`, `*`) are not part of the policy language",
            )
            .why("what a route enforces must be readable where it stands")
            .fix("write the value out; text that begins with `&` or `*` needs quotes"),
        YamlError::Budget {
            breach: BudgetBreach::Documents { .. },
            ..
        }
        | YamlError::MultipleDocuments { .. } => findings
            .error(code::NOT_IN_LANGUAGE, at, "more than one YAML document in a file")
            .why("the second document would be easy to overlook")
            .fix("put it in a file of its own"),
        YamlError::Budget { .. } => findings
            .error(
                code::NOT_IN_LANGUAGE,
                at,
                format!("too much for a policy: {}", first_line(error)),
            )
            .why("a policy that deep or that long cannot be reviewed")
            .fix("split it, or nest less"),
        YamlError::DuplicateMappingKey { .. } => findings
            .error(code::DUPLICATE_KEY, at, first_line(error))
            .why("one of the two would silently lose")
            .fix("keep one of them"),
        _ if first_line(error).starts_with("unsupported tag") => findings
            .error(code::NOT_IN_LANGUAGE, at, first_line(error))
            .why("a tag changes what a value means without showing it")
            .fix("write the plain value"),
        _ => findings
            .error(
                code::NOT_YAML,
                at,
                format!("not valid YAML: {}", first_line(error)),
            )
            .why("nothing in this file can be trusted until it parses"),
    };
}

fn first_line(error: &YamlError) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    // The position is already in the diagnostic.
    line.rsplit_once(" at line ")
        .map_or(line, |(message, _)| message)
        .to_owned()
}

/// The tree as the YAML library gives it, before places are resolved.
enum Raw {
    Null,
    Bool(bool),
    Number,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Key>, Spanned<Raw>)>),
}

/// A key, which may be anything in YAML and must be text in a policy.
struct Key(Option<String>);

struct Place<'s> {
    file: usize,
    text: &'s str,
}

impl Place<'_> {
    /// What can still be said about a file that the strict parse refused.
    fn after_refusal(&self, error: &YamlError, findings: &mut Findings) -> Option<Node> {
        if !matches!(error.without_snippet(), YamlError::DuplicateMappingKey { .. }) {
            report(self.file, error, findings);
            return None;
        }
        let before = findings.len();
        match serde_saphyr::from_str_with_options(self.text, options(DuplicateKeyPolicy::LastWins)) {
            Ok(raw) => {
                let node = self.node(raw, findings);
                if findings.len() == before {
                    report(self.file, error, findings);
                }
                Some(node)
            }
            Err(second) => {
                report(self.file, error, findings);
                report(self.file, &second, findings);
                None
            }
        }
    }

    fn node(&self, raw: Spanned<Raw>, findings: &mut Findings) -> Node {
        let at = self.span(&raw.defined);
        let source = self.range(&raw.defined);
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Bool(value) => Value::Bool(value),
            Raw::Number => Value::Number(self.source(&raw.defined)),
            Raw::Text(text) => Value::Text(text),
            Raw::List(items) => {
                Value::List(items.into_iter().map(|item| self.node(item, findings)).collect())
            }
            Raw::Map(entries) => Value::Map(self.entries(entries, findings)),
        };
        Node { value, at, source }
    }

    fn entries(&self, raw: Vec<(Spanned<Key>, Spanned<Raw>)>, findings: &mut Findings) -> Vec<Entry> {
        let mut seen: HashMap<String, Span> = HashMap::new();
        let mut entries = Vec::with_capacity(raw.len());
        for (key, value) in raw {
            let key_at = self.span(&key.defined);
            let key_source = self.range(&key.defined);
            let value = self.node(value, findings);
            let Some(key) = key.value.0 else {
                findings
                    .error(code::WRONG_TYPE, key_at, "a key must be text")
                    .why("no key of the policy language is a number, a list or a mapping")
                    .fix("write the name of the key");
                continue;
            };
            if let Some(first) = seen.get(&key) {
                findings
                    .error(
                        code::DUPLICATE_KEY,
                        key_at,
                        format!("key `{key}` is written twice"),
                    )
                    .why("one of the two would silently lose")
                    .fix("keep one of them")
                    .related(*first, "first written here");
                continue;
            }
            seen.insert(key.clone(), key_at);
            entries.push(Entry {
                key,
                key_at,
                key_source,
                value,
            });
        }
        entries
    }

    fn span(&self, location: &serde_saphyr::Location) -> Span {
        let source = self.source(location);
        let first_line = source.lines().next().unwrap_or_default().trim_end();
        Span {
            file: self.file,
            line: u32::try_from(location.line()).unwrap_or(u32::MAX),
            column: u32::try_from(location.column()).unwrap_or(u32::MAX),
            length: u32::try_from(first_line.chars().count()).unwrap_or(1).max(1),
        }
    }

    fn source(&self, location: &serde_saphyr::Location) -> String {
        self.text.get(self.range(location)).unwrap_or_default().to_owned()
    }

    fn range(&self, location: &serde_saphyr::Location) -> Range<usize> {
        let span = location.span();
        let start = span.byte_offset().and_then(|start| usize::try_from(start).ok());
        let length = span.byte_len().and_then(|length| usize::try_from(length).ok());
        start
            .zip(length)
            .and_then(|(start, length)| Some(start..start.checked_add(length)?))
            .unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    #[expect(
        clippy::disallowed_types,
        reason = "the signature is serde's; the value is not looked at"
    )]
    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Raw::deserialize(deserializer).map(|raw| match raw {
            Raw::Text(text) => Self(Some(text)),
            Raw::Null | Raw::Bool(_) | Raw::Number | Raw::List(_) | Raw::Map(_) => Self(None),
        })
    }
}
