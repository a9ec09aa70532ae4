//! The canonical form: what it looks like, and the laws that it holds for whatever is written.

use crate::{
    documentation::examples,
    spelling::{spell, trees},
    world::shipped,
};
use policy::{SourceFile, Unformatted, format};
use proptest::{collection::vec, prelude::*, sample::Index};
use std::sync::LazyLock;

static FILES: LazyLock<Vec<SourceFile>> = LazyLock::new(|| {
    let mut files = shipped();
    files.retain(|file| !SourceFile::is_api_document(&file.name));
    files
});

fn file(text: &str) -> SourceFile {
    SourceFile::new("any.yaml", text)
}

fn formatted(text: &str) -> String {
    format(&file(text)).unwrap_or_else(|error| panic!("{error:?}\n{text}"))
}

/// The values of a text, by another way than the formatter compares them.
fn values(text: &str) -> serde_json::Value {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn assert_laws(text: &str, comments: &[String]) {
    let once = formatted(text);
    assert_eq!(values(&once), values(text), "\n{text}\n---\n{once}");
    assert_eq!(formatted(&once), once, "\n{text}");
    for comment in comments {
        let lines = once.lines().filter(|line| line.ends_with(comment.as_str()));
        assert_eq!(lines.count(), 1, "{comment}\n{text}\n---\n{once}");
    }
    let is_ended = once.is_empty() || (once.ends_with('\n') && !once.ends_with("\n\n"));
    assert!(
        is_ended && !once.contains('\r') && !once.starts_with(['\n', '\u{feff}']),
        "{once:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// fmt(fmt(x)) == fmt(x); the tree stays; every comment stays.
    #[test]
    fn whatever_is_written_keeps_its_tree_and_its_comments(tree in trees(), choices in vec(any::<u8>(), 1..200)) {
        let spelled = spell(&tree, &choices);
        assert_laws(&spelled.text, &spelled.comments);
    }

    /// A slip anywhere gives findings or a text that holds the laws.
    #[test]
    fn a_damaged_policy_is_formatted_or_refused(
        file in any::<Index>(),
        at in any::<Index>(),
        with in "[ a-z:{}\\[\\]\"'#&*%|>\\-\n0-9é\t\r]{0,3}",
        cut in 0_usize..4,
    ) {
        let mut letters: Vec<char> = file.get(&FILES).text.chars().collect();
        let start = at.index(letters.len());
        let end = (start + cut).min(letters.len());
        letters.splice(start..end, with.chars());
        let damaged: String = letters.into_iter().collect();
        match format(&super::formatting::file(&damaged)) {
            Ok(once) => {
                prop_assert_eq!(format(&super::formatting::file(&once)), Ok(once.clone()));
                prop_assert_eq!(values(&once), values(&damaged));
            }
            Err(Unformatted::Findings(found)) => prop_assert!(!found.is_empty()),
            Err(Unformatted::Fault(fault)) => prop_assert!(false, "{}\n{}", fault, damaged),
        }
    }
}

#[test]
fn the_shipped_policies_are_canonical() {
    for file in FILES.iter() {
        assert_eq!(format(file).as_deref(), Ok(file.text.as_str()), "{}", file.name);
    }
}

#[test]
fn every_example_of_the_reference_holds_the_laws() {
    for example in examples() {
        assert_laws(&example, &[]);
    }
}

#[test]
fn the_example_of_the_form_is_in_it() {
    let examples = examples();
    let example = examples
        .iter()
        .find(|example| example.contains("# Head of the file."))
        .expect("an example");
    assert_eq!(&formatted(example), example);
}

#[test]
fn a_messy_file_becomes_canonical() {
    insta::assert_snapshot!(formatted(include_str!("messy.yaml")));
}

#[test]
fn quotes_stand_only_where_they_are_needed() {
    for (written, canonical) in [
        ("'GET'", "GET"),
        ("\"/api/v1/accounts\"", "/api/v1/accounts"),
        ("/api/v1/accounts/{id}", "\"/api/v1/accounts/{id}\""),
        ("'1.2'", "\"1.2\""),
        ("1.2", "1.2"),
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0:80", "\"0.0.0.0:80\""),
        ("'unix:core.sock'", "unix:core.sock"),
        ("'true'", "\"true\""),
        ("True", "true"),
        ("yes", "\"yes\""),
        ("'2026-01-01'", "2026-01-01"),
        ("\"it's\"", "it's"),
        ("\"say \\\"no\\\"\"", "say \"no\""),
        ("'\"no\" first'", "'\"no\" first'"),
        ("'# none'", "\"# none\""),
        ("''", "\"\""),
        ("\"\\u202E\\t\"", "\"\\u202E\\t\""),
    ] {
        assert_eq!(
            formatted(&format!("key: {written}\n")),
            format!("key: {canonical}\n")
        );
    }
    assert_eq!(
        formatted("a: ['accounts:read', 'https://a.example', '*', 'https://a.example:8443', x]"),
        "a: [\"accounts:read\", https://a.example, \"*\", \"https://a.example:8443\", x]\n"
    );
    assert_eq!(
        formatted("a:\n- accounts:read\n- 'x'\n"),
        "a:\n  - \"accounts:read\"\n  - x\n"
    );
}

#[test]
fn brackets_stay_where_they_were_and_fit() {
    let short = "a: { b: 1, c: [x, y] }\n";
    assert_eq!(formatted("a:   {b: 1,\n  c: [x,y,]}"), short);
    assert_eq!(formatted("a:\n  b: 1\n"), "a:\n  b: 1\n");
    let (fits, does_not) = ("x".repeat(114), "x".repeat(115));
    assert_eq!(formatted(&format!("ab: [ {fits} ]")), format!("ab: [{fits}]\n"));
    assert_eq!(
        formatted(&format!("ab: [ {does_not} ]")),
        format!("ab:\n  - {does_not}\n")
    );
    assert_eq!(formatted("a: [x, # why\n  y]"), "a:\n  - x  # why\n  - y\n");
}

#[test]
fn unknown_keys_come_last_and_nothing_is_lost() {
    assert_eq!(
        formatted("speling: 1\nroutes: { a: { upstrem: core, auth: none, match: 1 } }\nversion: 1\n"),
        "version: 1\n\nroutes: { a: { match: 1, auth: none, upstrem: core } }\n\nspeling: 1\n"
    );
}

#[test]
fn what_is_no_policy_yaml_is_refused_with_its_place() {
    for (text, code, line) in [
        ("a: 1\na: 2\n", "P1003", 2),
        ("a: [1\n", "P1002", 1),
        ("a: &x 1\nb: *x\n", "P1007", 1),
        ("a: 1\n---\nb: 1\n", "P1007", 2),
        ("1: a\n", "P1006", 1),
    ] {
        let Err(Unformatted::Findings(found)) = format(&file(text)) else {
            panic!("{text}");
        };
        let first = found.first().expect("a finding");
        assert_eq!((first.code, first.line), (code, line), "{text}");
    }
}

#[test]
fn a_file_of_comments_keeps_them() {
    assert_eq!(formatted(""), "");
    assert_eq!(formatted("\n\n"), "");
    assert_eq!(formatted("\n  # one \n\n\n\t\n#two\n"), "# one\n\n#two\n");
    assert_eq!(
        formatted("--- # one\n# two\n...\n# three\n"),
        "# one\n# two\n# three\n"
    );
}
