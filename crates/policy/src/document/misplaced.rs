//! Keys that stand in another mapping than the one they belong to, because their indentation slipped.
//!
//! Each is reported once and moved to where it belongs, so that the one mapping is not also told that the key is
//! unknown, nor the other that it is missing.

use crate::{
    diagnostic::{Findings, Span, code},
    language::{Form, Key},
    suggest,
    yaml::{Entry, Node, Value},
};

/// Moves every misplaced key of a file.
pub(super) fn settle(root: &mut Node, keys: &'static [Key], findings: &mut Findings) {
    let at = root.at;
    let mut settler = Settler {
        around: Vec::new(),
        findings,
    };
    settler.mapping(root, keys, "", at);
}

struct Settler<'f> {
    /// The mappings around the one that is looked at, the innermost last.
    around: Vec<Mapping>,
    findings: &'f mut Findings,
}

/// A mapping that a key may belong to.
struct Mapping {
    keys: &'static [Key],
    home: Home,
    present: Vec<&'static str>,
    /// Keys that were found further in.
    arrived: Vec<Entry>,
}

/// What would stand in a key, were it indented: keys of the language, or names with definitions.
#[derive(Clone, Copy)]
enum Inside {
    Keys {
        inner: &'static [Key],
        around: &'static [Key],
    },
    Names {
        inner: &'static [Key],
        around: &'static [Key],
    },
}

impl Inside {
    /// Whether an entry can only stand there, and not where it does.
    fn takes(self, entry: &Entry) -> bool {
        match self {
            Self::Keys { inner, around } => {
                let fits = key(inner, &entry.key).is_some_and(|key| key.form.fits(&entry.value.value));
                fits && key(around, &entry.key).is_none()
            }
            Self::Names { inner, around } => key(around, &entry.key).is_none() && is_definition(entry, inner),
        }
    }
}

/// How a mapping is told of.
struct Home {
    path: String,
    at: Span,
    /// Its first key.
    first: Option<Span>,
}

impl Settler<'_> {
    fn value(&mut self, node: &mut Node, form: &'static Form, path: &str, at: Span) {
        match form {
            Form::Mapping(keys) => self.mapping(node, keys, path, at),
            Form::Named(form) => self.names(node, form, path),
            Form::List { .. }
            | Form::HeaderFields
            | Form::Text(_)
            | Form::Choice(_)
            | Form::Number { .. }
            | Form::Boolean
            | Form::ChoiceOr(..)
            | Form::TextOr(..)
            | Form::Any => {}
        }
    }

    fn mapping(&mut self, node: &mut Node, keys: &'static [Key], path: &str, at: Span) {
        let Value::Map(entries) = &mut node.value else {
            return;
        };
        self.gather(entries, path, |entry| match &key(keys, &entry.key)?.form {
            Form::Named(Form::Mapping(inner)) => Some(Inside::Names { inner, around: keys }),
            Form::Mapping(inner) => Some(Inside::Keys { inner, around: keys }),
            _ => None,
        });
        let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
        let missing: Vec<&Key> = keys
            .iter()
            .filter(|key| !entries.iter().any(|entry| entry.key == key.name))
            .collect();
        for entry in entries.drain(..) {
            let is_slip = missing
                .iter()
                .any(|key| key.form.fits(&entry.value.value) && suggest::is_one_slip(&entry.key, key.name));
            if is_slip || key(keys, &entry.key).is_some() {
                kept.push(entry);
            } else if let Some(entry) = self.outward(entry, path)
                && let Some(entry) = self.inward(entry, keys, path, &mut kept)
            {
                kept.push(entry);
            }
        }
        self.around.push(Mapping {
            keys,
            present: kept
                .iter()
                .filter_map(|entry| key(keys, &entry.key))
                .map(|key| key.name)
                .collect(),
            home: Home {
                path: path.to_owned(),
                at,
                first: kept.first().map(|entry| entry.key_at),
            },
            arrived: Vec::new(),
        });
        for entry in &mut kept {
            if let Some(key) = key(keys, &entry.key) {
                self.value(&mut entry.value, &key.form, &below(path, key.name), entry.key_at);
            }
        }
        kept.extend(self.around.pop().map(|own| own.arrived).unwrap_or_default());
        *entries = kept;
    }

    /// Definitions under names: what has a key of the definitions for its name, and is none, belongs to the one above.
    fn names(&mut self, node: &mut Node, form: &'static Form, path: &str) {
        let (Value::Map(entries), Form::Mapping(keys)) = (&mut node.value, form) else {
            return;
        };
        self.gather(entries, path, |entry| {
            let is_name = key(keys, &entry.key).is_none();
            is_name.then_some(Inside::Keys {
                inner: keys,
                around: &[],
            })
        });
        let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
        for entry in entries.drain(..) {
            if is_definition(&entry, keys) {
                kept.push(entry);
                continue;
            }
            let home = kept.last_mut().and_then(|last| {
                let path = below(path, &last.key);
                home_in(&mut last.value, form, &entry.key, path, last.key_at)
            });
            if let Some((inside, home)) = home {
                self.report(&entry, path, &home);
                inside.push(entry);
            } else if let Some(entry) = self.outward(entry, path) {
                kept.push(entry);
            }
        }
        for entry in &mut kept {
            self.value(&mut entry.value, form, &below(path, &entry.key), entry.key_at);
        }
        *entries = kept;
    }

    /// A key without a value whose content begins in its own column, and not deeper: one slip, told once.
    fn gather(&mut self, entries: &mut Vec<Entry>, path: &str, inside: impl Fn(&Entry) -> Option<Inside>) {
        let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
        for entry in entries.drain(..) {
            let home = kept.last_mut().and_then(|last| {
                let inside = inside(last)?;
                let is_open = match &last.value.value {
                    Value::Null => last.value.source.is_empty(),
                    Value::Map(_) => last.value.at == last.key_at,
                    _ => false,
                };
                (is_open && inside.takes(&entry)).then_some(last)
            });
            let Some(home) = home else {
                kept.push(entry);
                continue;
            };
            if let Value::Map(gathered) = &mut home.value.value {
                gathered.push(entry);
                continue;
            }
            let spaces = home.key_at.column.saturating_add(1);
            self.findings
                .error(
                    code::UNKNOWN_KEY,
                    entry.key_at,
                    format!("`{}` stands beside `{}` and belongs into it", entry.key, home.key),
                )
                .why("what it asks for would not be enforced there")
                .fix(format!(
                    "write {spaces} spaces before it, and two more before each line below that belongs to it"
                ))
                .related(home.key_at, format!("`{}` begins here", below(path, &home.key)));
            home.value.at = home.key_at;
            home.value.value = Value::Map(vec![entry]);
        }
        *entries = kept;
    }

    /// Moves a key to the nearest mapping around that has it in the language and not in the text.
    fn outward(&mut self, entry: Entry, path: &str) -> Option<Entry> {
        let fits = |mapping: &&mut Mapping| {
            key(mapping.keys, &entry.key)
                .is_some_and(|key| key.form.fits(&entry.value.value) && !mapping.present.contains(&key.name))
        };
        let Some(mapping) = self.around.iter_mut().rev().find(fits) else {
            return Some(entry);
        };
        mapping
            .present
            .extend(key(mapping.keys, &entry.key).map(|key| key.name));
        report(self.findings, &entry, path, &mapping.home);
        mapping.arrived.push(entry);
        None
    }

    /// Moves a key to a mapping at the end of the entry above it.
    fn inward(
        &mut self,
        entry: Entry,
        keys: &'static [Key],
        path: &str,
        kept: &mut [Entry],
    ) -> Option<Entry> {
        let home = kept.last_mut().and_then(|last| {
            let form = &key(keys, &last.key)?.form;
            home_in(
                &mut last.value,
                form,
                &entry.key,
                below(path, &last.key),
                last.key_at,
            )
        });
        let Some((inside, home)) = home else {
            return Some(entry);
        };
        self.report(&entry, path, &home);
        inside.push(entry);
        None
    }

    fn report(&mut self, entry: &Entry, path: &str, home: &Home) {
        report(self.findings, entry, path, home);
    }
}

/// The outermost mapping along the last entries of a value that has the key in the language and not in the text.
fn home_in<'n>(
    node: &'n mut Node,
    form: &'static Form,
    wanted: &str,
    path: String,
    at: Span,
) -> Option<(&'n mut Vec<Entry>, Home)> {
    let Value::Map(entries) = &mut node.value else {
        return None;
    };
    if let Form::Mapping(keys) = form
        && key(keys, wanted).is_some()
        && !entries.iter().any(|entry| entry.key == wanted)
    {
        let first = entries.first().map(|entry| entry.key_at);
        return Some((entries, Home { path, at, first }));
    }
    let last = entries.last_mut()?;
    let path = below(&path, &last.key);
    let form = match form {
        Form::Mapping(keys) => &key(keys, &last.key)?.form,
        Form::Named(form) => form,
        _ => return None,
    };
    home_in(&mut last.value, form, wanted, path, last.key_at)
}

fn report(findings: &mut Findings, entry: &Entry, path: &str, home: &Home) {
    let name = |path: &str| {
        if path.is_empty() {
            "the file itself".to_owned()
        } else {
            format!("`{path}`")
        }
    };
    let is_block = home
        .first
        .filter(|first| first.line != home.at.line || home.path.is_empty());
    let fix = match is_block {
        Some(first) => format!("write {} spaces before it", first.column.saturating_sub(1)),
        None => "write it between the other keys there".to_owned(),
    };
    let finding = findings.error(
        code::UNKNOWN_KEY,
        entry.key_at,
        format!(
            "`{}` stands in {} and belongs to {}",
            entry.key,
            name(path),
            name(&home.path)
        ),
    );
    finding
        .why("what it asks for would not be enforced there")
        .fix(fix);
    if !home.path.is_empty() {
        finding.related(home.at, format!("`{}` begins here", home.path));
    }
}

/// Whether an entry is a name with keys of a definition in it.
fn is_definition(entry: &Entry, keys: &'static [Key]) -> bool {
    matches!(&entry.value.value, Value::Map(inside)
        if inside.is_empty() || inside.iter().any(|entry| key(keys, &entry.key).is_some()))
}

fn key(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
