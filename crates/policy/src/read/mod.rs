//! Typed reading of the tree: each reader says what is wrong and lets the others go on.

mod definitions;
mod names;
mod units;
mod values;

pub(crate) use definitions::Definitions;
pub(crate) use names::{header_name, is_authority, is_file_name, is_loopback_host};
pub(crate) use units::{Rate, in_units};

use crate::{
    diagnostic::{Findings, Span, code},
    language::Key,
    secret, suggest,
    yaml::{Entry, Node, Value},
};

/// A value with its place.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) at: Span,
}

/// One key with its value, and its full name such as `routes.login.auth`.
#[derive(Debug, Clone)]
pub(crate) struct Field<'n> {
    pub(crate) path: String,
    pub(crate) key_at: Span,
    pub(crate) node: &'n Node,
}

/// A mapping whose keys are known.
#[derive(Debug)]
pub(crate) struct Mapping<'n> {
    pub(crate) path: String,
    pub(crate) at: Span,
    keys: &'static [Key],
    entries: &'n [Entry],
    /// Keys that an unknown key was probably meant to be: they are not missing as well.
    misspelt: Vec<&'static str>,
    /// Some key is none of the language, nor like one: what is missing may be in it.
    is_foreign: bool,
}

/// One definition of a section: it has its name even when its content is wrong, so that references to it are
/// not reported as well.
#[derive(Debug, Clone)]
pub(crate) struct Named<T> {
    pub(crate) name: String,
    pub(crate) at: Span,
    pub(crate) path: String,
    pub(crate) value: Option<T>,
}

impl<'n> Mapping<'n> {
    /// Opens a mapping and reports every key that it cannot have.
    pub(crate) fn open(field: &Field<'n>, keys: &'static [Key], findings: &mut Findings) -> Option<Self> {
        let entries = field.entries(findings)?;
        let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
        let has = |name: &str| entries.iter().any(|entry| entry.key == name);
        let mut missing: Vec<&Key> = keys
            .iter()
            .filter(|key| key.is_required && !has(key.name))
            .collect();
        if entries.is_empty() && !missing.is_empty() {
            field.nothing(&missing, findings);
            return None;
        }
        let mut misspelt = Vec::new();
        let (mut foreign, mut is_foreign) = (0_usize, false);
        for entry in entries
            .iter()
            .filter(|entry| !known.contains(&entry.key.as_str()))
        {
            // What is only counted needs no meaning, and looking for one costs.
            let is_told = !findings.is_full();
            let meant = is_told
                .then(|| meant(entry, &known, &missing, findings))
                .flatten();
            let fix = match meant {
                Some(meant) => suggest::did_you_mean(&entry.key, meant),
                None if is_secret(entry) => secret::BY_REFERENCE.to_owned(),
                None => findings.suggest(&entry.key, known.iter().copied()),
            };
            findings
                .error(
                    code::UNKNOWN_KEY,
                    entry.key_at,
                    format!("unknown key `{}` in {}", entry.key, field.place()),
                )
                .why("what it asks for would not be enforced")
                .fix(fix);
            missing.retain(|key| Some(key.name) != meant);
            misspelt.extend(meant);
            foreign = foreign.saturating_add(usize::from(meant.is_none()));
            is_foreign |= !is_told || suggest::nearest(&entry.key, known.iter().copied()).is_none();
        }
        // As many words of another language as there are keys missing: one is told, not both.
        if missing.len() <= foreign {
            misspelt.extend(missing.iter().map(|key| key.name));
        }
        Some(Self {
            path: field.path.clone(),
            at: field.key_at,
            keys,
            entries,
            misspelt,
            is_foreign,
        })
    }

    /// The same of a mapping whose keys may each be left out, and not all of them.
    pub(crate) fn open_some(
        field: &Field<'n>,
        keys: &'static [Key],
        findings: &mut Findings,
    ) -> Option<Self> {
        let mapping = Self::open(field, keys, findings)?;
        if mapping.entries.is_empty() {
            field.nothing(&[], findings);
            return None;
        }
        Some(mapping)
    }

    /// Whether the key is there, or was probably meant to be.
    pub(crate) fn has_or_means(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key) || self.misspelt.contains(&key)
    }

    /// Whether there is a key that no word of the language is like: what is missing was probably meant by it.
    pub(crate) const fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// Whether there is no other key than this one.
    pub(crate) fn has_only(&self, key: &str) -> bool {
        self.entries.iter().all(|entry| entry.key == key)
    }

    /// A key, when it is there.
    pub(crate) fn optional(&self, key: &str) -> Option<Field<'n>> {
        debug_assert!(
            self.keys.iter().any(|known| known.name == key),
            "`{key}` is in no table of the language"
        );
        self.entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| Field {
                path: joined(&self.path, key),
                key_at: entry.key_at,
                node: &entry.value,
            })
    }

    /// A key, reported when it is missing and the table says that it must be there.
    pub(crate) fn key(&self, key: &str, findings: &mut Findings) -> Option<Field<'n>> {
        let field = self.optional(key);
        let wanted = self
            .keys
            .iter()
            .find(|known| known.name == key && known.is_required);
        if let Some(wanted) = wanted.filter(|_| !self.has_or_means(key)) {
            let place = if self.path.is_empty() {
                "this file"
            } else {
                &self.path
            };
            findings
                .error(
                    code::MISSING_KEY,
                    self.at,
                    format!("missing key `{key}` in {place}"),
                )
                .why("there is no default: what is enforced must be written")
                .fix(format!("add `{key}: {}`", wanted.example));
        }
        field
    }
}

impl<'n> Field<'n> {
    /// The whole of a file.
    pub(crate) const fn root(node: &'n Node) -> Self {
        Self {
            path: String::new(),
            key_at: node.at,
            node,
        }
    }

    /// What it is called in messages.
    fn place(&self) -> &str {
        if self.path.is_empty() {
            "a policy file"
        } else {
            &self.path
        }
    }

    /// Reports an empty mapping once, and not each key that it lacks.
    fn nothing(&self, missing: &[&Key], findings: &mut Findings) {
        let names: Vec<&str> = missing.iter().map(|key| key.name).collect();
        let fix = if names.is_empty() {
            "leave it out, or write one of its keys".to_owned()
        } else {
            format!("it needs: {}", names.join(", "))
        };
        findings
            .error(
                code::MISSING_KEY,
                self.key_at,
                format!("{} is empty", self.place()),
            )
            .why("there is no default: what is enforced must be written")
            .fix(fix);
    }

    fn entries(&self, findings: &mut Findings) -> Option<&'n [Entry]> {
        match &self.node.value {
            Value::Map(entries) => Some(entries),
            Value::Null if self.path.is_empty() => {
                findings
                    .error(
                        code::MISSING_KEY,
                        Span::whole(self.node.at.file),
                        "this file says nothing",
                    )
                    .why("whoever wrote it meant to protect something")
                    .fix("write `version: 1` and a section, or remove the file");
                None
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
                self.wrong_type("a mapping", findings);
                None
            }
        }
    }

    /// Every entry of a mapping from names to definitions.
    pub(crate) fn named(&self, findings: &mut Findings) -> Vec<(String, Self)> {
        let Some(entries) = self.entries(findings) else {
            return Vec::new();
        };
        if entries.is_empty() {
            self.wrong_type("at least one definition", findings);
        }
        let mut fields = Vec::with_capacity(entries.len());
        for entry in entries {
            if !is_name(&entry.key) {
                findings
                    .error(
                        code::BAD_NAME,
                        entry.key_at,
                        format!("`{}` cannot be a name", entry.key),
                    )
                    .why("names appear in header fields, logs and metrics")
                    .fix(better_name(&entry.key));
            }
            fields.push((
                entry.key.clone(),
                Self {
                    path: joined(&self.path, &entry.key),
                    key_at: entry.key_at,
                    node: &entry.value,
                },
            ));
        }
        fields
    }

    /// Every entry of a mapping whose keys are not names of ours (header fields).
    pub(crate) fn pairs(&self, findings: &mut Findings) -> Vec<(At<String>, Self)> {
        self.entries(findings)
            .unwrap_or_default()
            .iter()
            .map(|entry| {
                let field = Self {
                    path: joined(&self.path, &entry.key),
                    key_at: entry.key_at,
                    node: &entry.value,
                };
                (
                    At {
                        value: entry.key.clone(),
                        at: entry.key_at,
                    },
                    field,
                )
            })
            .collect()
    }

    /// The items of a list.
    pub(crate) fn items(&self, findings: &mut Findings) -> Option<Vec<Self>> {
        match &self.node.value {
            Value::List(items) => Some(
                items
                    .iter()
                    .map(|node| Self {
                        path: self.path.clone(),
                        key_at: node.at,
                        node,
                    })
                    .collect(),
            ),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => {
                self.wrong_type("a list", findings);
                None
            }
        }
    }

    /// Text.
    pub(crate) fn text(&self, findings: &mut Findings) -> Option<At<String>> {
        match &self.node.value {
            Value::Text(text) => Some(At {
                value: text.clone(),
                at: self.node.at,
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Map(_) => {
                self.wrong_type("text", findings);
                None
            }
        }
    }

    fn wrong_type(&self, wanted: &str, findings: &mut Findings) {
        // Nothing has no place of its own, so its key is shown.
        let (at, fix) = match &self.node.value {
            Value::Null => (self.key_at, "write a value, or leave the key out".to_owned()),
            Value::Number(text) if wanted == "text" => {
                (self.node.at, format!("put it in quotes: \"{text}\""))
            }
            Value::Bool(value) if wanted == "text" => {
                (self.node.at, format!("put it in quotes: \"{value}\""))
            }
            Value::Text(text) if wanted == "a list" => (self.node.at, format!("write `[{text}]`")),
            Value::Text(text) if wanted == "true or false" => (self.node.at, boolean(text)),
            Value::List(items) if wanted == "text" => (self.node.at, single(items)),
            Value::Map(entries) if wanted == "text" => (self.node.at, glued(entries)),
            _ if self.path.is_empty() => (
                self.node.at,
                "write `version: 1` and sections such as `routes:`".to_owned(),
            ),
            Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                (self.node.at, format!("write {wanted}"))
            }
        };
        findings
            .error(
                code::WRONG_TYPE,
                at,
                format!(
                    "{} must be {wanted}, this is {}",
                    self.place(),
                    self.node.value.kind()
                ),
            )
            .why("a value of another kind would have to be guessed at")
            .fix(fix);
    }
}

/// What the booleans of YAML 1.1 and of people mean.
fn boolean(text: &str) -> String {
    let word = match text.to_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => "`true`",
        "false" | "no" | "off" | "n" => "`false`",
        _ => "`true` or `false`",
    };
    format!("write {word}, without quotes")
}

/// `accounts: write` where `accounts:write` was meant.
fn glued(entries: &[Entry]) -> String {
    match entries {
        [
            Entry {
                key,
                value:
                    Node {
                        value: Value::Text(text),
                        ..
                    },
                ..
            },
        ] => format!("write text: \"{key}:{text}\""),
        _ => "write text".to_owned(),
    }
}

/// One value where a list stands.
fn single(items: &[Node]) -> String {
    match items {
        [
            Node {
                value: Value::Text(text),
                ..
            },
        ] => format!("write `{text}`, without brackets"),
        _ => "write one value: here is no list".to_owned(),
    }
}

/// Whether an entry that the language does not know holds a secret, and not something about one.
fn is_secret(entry: &Entry) -> bool {
    let is_text = |text: &str| !secret::is_plain(&entry.key, text);
    secret::says_secret(&entry.key)
        && match &entry.value.value {
            Value::Text(text) => is_text(text),
            Value::Number(number) => is_text(number),
            Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => false,
        }
}

/// The key that an unknown one was probably meant to be: one that is spelt like it, or the only one that is missing.
fn meant(
    entry: &Entry,
    known: &[&'static str],
    missing: &[&Key],
    findings: &Findings,
) -> Option<&'static str> {
    if findings.is_full() {
        return None;
    }
    let mut fitting = missing.iter().filter(|key| key.form.fits(&entry.value.value));
    // `$ref` and `<<` are not words that somebody misspelt.
    let is_word = entry.key.starts_with(char::is_alphabetic);
    let only = fitting.next().filter(|_| is_word && fitting.next().is_none());
    suggest::nearest(&entry.key, known.iter().copied()).or_else(|| only.map(|key| key.name))
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn better_name(written: &str) -> String {
    const RULE: &str = "a lower-case letter, then up to 62 of a-z, 0-9, `_` and `-`";
    let better = written.to_lowercase().replace([' ', '.', '/'], "_");
    if is_name(&better) {
        format!("write `{better}`: {RULE}")
    } else {
        RULE.to_owned()
    }
}

/// Whether a word may name a route, a limit, an upstream and so on.
fn is_name(word: &str) -> bool {
    let mut letters = word.bytes();
    word.len() <= 63
        && letters.next().is_some_and(|first| first.is_ascii_lowercase())
        && letters.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
}
