//! No rule of tokens is without a test that carries its id, and the page of the rules names them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../../../docs/tokens.md");
const RULES: u32 = 48;

/// The ids in the name of a test: `j16_j39_keys_are_replaced` has 16 and 39.
fn ids(name: &str) -> BTreeSet<u32> {
    let digits = |part: &str| {
        let digits = part.strip_prefix('j')?;
        (digits.len() == 2).then(|| digits.parse().ok())?
    };
    name.split('_').filter_map(digits).collect()
}

/// The tests of a file by name. A function is one when `#[test]` or `#[tokio::test]` stands above it.
fn tests(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        let name = line.trim_start_matches("async ").strip_prefix("fn ");
        match name.and_then(|rest| rest.split_once('(')) {
            Some((name, _)) if is_test => {
                found.insert(name.to_owned());
                is_test = false;
            }
            Some(_) => is_test = false,
            None => is_test |= matches!(line, "#[test]" | "#[tokio::test]"),
        }
    }
    found
}

fn files(folder: &Path, all: &mut BTreeMap<String, BTreeSet<String>>, root: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, all, root);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            all.insert(name, tests(&fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Every test of the crates that have to do with tokens, by file.
fn tree() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut all = BTreeMap::new();
    for folder in [
        "gateway/src",
        "gateway/tests",
        "crates/keyring/src",
        "control-plane/src",
    ] {
        files(&root.join(folder), &mut all, &root);
    }
    all
}

#[test]
fn every_rule_of_tokens_has_a_test_that_carries_its_id() {
    let found: BTreeSet<u32> = tree().values().flatten().flat_map(|test| ids(test)).collect();
    let missing: Vec<u32> = (1..=RULES).filter(|id| !found.contains(id)).collect();
    assert!(missing.is_empty(), "no test carries {missing:?}");
    let unknown: Vec<&u32> = found.iter().filter(|id| !(1..=RULES).contains(*id)).collect();
    assert!(unknown.is_empty(), "there is no rule {unknown:?}");
}

#[test]
fn the_page_of_the_rules_names_a_real_test_for_each() {
    let tree = tree();
    let mut named = Vec::new();
    for row in PAGE.lines().filter(|line| line.starts_with("| J")) {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let id: u32 = cells.next().unwrap().trim_start_matches('J').parse().unwrap();
        let tests = cells.nth(1).unwrap();
        let (file, test) = tests.trim_matches('`').split_once("::").unwrap();
        assert!(
            tree.get(file).is_some_and(|tests| tests.contains(test)),
            "J{id}: there is no {tests}"
        );
        assert!(ids(test).contains(&id), "J{id}: {test} does not carry it");
        named.push(id);
    }
    assert_eq!(named, (1..=RULES).collect::<Vec<_>>());
}

#[test]
fn ids_and_tests_are_read_as_they_are_written() {
    assert_eq!(ids("j16_j39_keys_of_j_2_and_x10"), BTreeSet::from([16, 39]));
    let text = "#[test]\nfn j01_a() {}\nfn j02_helper() {}\n#[tokio::test]\nasync fn j03_b() {\n#[test]\n#[ignore = \"x\"]\nfn j04_c(x: u8) {}";
    let names = ["j01_a", "j03_b", "j04_c"].map(str::to_owned);
    assert_eq!(tests(text), BTreeSet::from(names));
}
