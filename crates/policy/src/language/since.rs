//! Which gateways can read a bundle: no key of it is younger than they are.

use super::{BASE, CASES, Form, Key, OVERLAY};
use crate::diagnostic::Findings;
use crate::source::SourceFile;
use crate::yaml::{self, Value};

/// A version of Portico: major, minor, patch.
pub type Version = (u64, u64, u64);

/// The version that has brought the language. Every gateway reads what is of it.
pub(super) const FIRST: Version = (0, 1, 0);

/// The oldest version that knows every key which policy and case files use. An older gateway would refuse the bundle for a key
/// that it takes for a slip; whoever publishes can know that before.
///
/// A file that cannot be read wants no version: its findings say more.
#[must_use]
pub fn oldest_reader(files: &[SourceFile]) -> Version {
    let own = files
        .iter()
        .filter(|file| !SourceFile::is_api_document(&file.name));
    let read = own.filter_map(|file| yaml::parse(0, file, &mut Findings::default()));
    read.map(|root| newest(keys_of(&root.value), &root.value))
        .max()
        .unwrap_or(FIRST)
}

/// The table of a file: case files are known by their `tests`, overlays by their `environment`.
fn keys_of(root: &Value) -> &'static [Key] {
    let Value::Map(entries) = root else { return &[] };
    let has = |name: &str| entries.iter().any(|entry| entry.key == name);
    match (has("tests"), has("environment")) {
        (true, _) => CASES,
        (false, true) => OVERLAY,
        (false, false) => BASE,
    }
}

/// The version of the youngest key in a mapping with these keys.
fn newest(keys: &[Key], mapping: &Value) -> Version {
    let Value::Map(entries) = mapping else {
        return FIRST;
    };
    let known = entries.iter().filter_map(|entry| {
        let key = keys.iter().find(|key| key.name == entry.key)?;
        Some(key.since.max(newest_in(&key.form, &entry.value.value)))
    });
    known.max().unwrap_or(FIRST)
}

fn newest_in(form: &Form, value: &Value) -> Version {
    match (form, value) {
        (Form::Mapping(keys) | Form::ChoiceOr(_, keys) | Form::TextOr(_, keys), value) => newest(keys, value),
        (Form::Named(of), Value::Map(entries)) => {
            let each = entries.iter().map(|entry| newest_in(of, &entry.value.value));
            each.max().unwrap_or(FIRST)
        }
        (Form::List { of, .. }, Value::List(items)) => {
            let each = items.iter().map(|item| newest_in(of, &item.value));
            each.max().unwrap_or(FIRST)
        }
        _ => FIRST,
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::may;
    use super::super::paths;
    use super::*;

    static RULE: &[Key] = &[
        may("old", Form::Boolean, "true", "It was there."),
        Key {
            since: (0, 2, 0),
            ..may("new", Form::Boolean, "true", "It came.")
        },
    ];
    static TABLE: &[Key] = &[
        may("named", Form::Named(&Form::Mapping(RULE)), "{}", "Definitions."),
        may(
            "listed",
            Form::List {
                of: &Form::ChoiceOr(&["none"], RULE),
                may_be_empty: true,
            },
            "[]",
            "Items.",
        ),
        Key {
            since: (1, 0, 3),
            ..may("newest", Form::Any, "1", "It came last.")
        },
    ];

    fn of(text: &str) -> Version {
        let file = SourceFile::new("base.yaml", text);
        let root = yaml::parse(0, &file, &mut Findings::default()).unwrap();
        newest(TABLE, &root.value)
    }

    #[test]
    fn the_youngest_key_says_which_versions_read_a_file() {
        assert_eq!(of("named: { a: { old: true }, b: { old: true } }"), FIRST);
        assert_eq!(
            of("named: { a: { old: true }, b: { old: true, new: true } }"),
            (0, 2, 0)
        );
        assert_eq!(of("listed: [none, { new: false }]"), (0, 2, 0));
        assert_eq!(of("listed: [{ new: false }]\nnewest: 1"), (1, 0, 3));
        assert_eq!(of("nobody: { knows: [this] }\nlisted: none"), FIRST);
    }

    #[test]
    fn a_bundle_is_read_as_its_kinds_of_files() {
        let files = [
            SourceFile::new("base.yaml", "version: 1\nhosts: [bank.example]\n"),
            SourceFile::new("environments/test.yaml", "version: 1\nenvironment: test\n"),
            SourceFile::new("tests/live.yaml", "version: 1\ntests: {}\n"),
            SourceFile::new("broken.yaml", "version: [1\n"),
        ];
        assert_eq!(oldest_reader(&files), FIRST);
        assert_eq!(oldest_reader(&[]), FIRST);
    }

    /// Whoever adds a key must say since when: without that it stands here, among those that every gateway knows.
    #[test]
    fn these_are_the_keys_of_the_first_version() {
        let tables = [("policy", BASE), ("overlay", OVERLAY), ("cases", CASES)];
        let lines = tables.iter().flat_map(|(name, table)| {
            let first = paths(table).into_iter().filter(|(_, key)| key.since == FIRST);
            first.map(move |(path, _)| format!("{name}: {path}"))
        });
        insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
    }
}
