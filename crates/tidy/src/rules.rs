//! Rules of the edge have ids, and tests carry them in their names: `fr7_reading_methods_take_no_body`.

use std::collections::BTreeSet;

use crate::Finding;
use crate::tree::SourceFile;

/// The families of `docs/testing.md` that are of the edge, and how many rules each has. Those of tokens are held to their
/// page by `gateway/tests/gateway/token_rules.rs`.
const FAMILIES: [(&str, u32); 5] = [("fr", 14), ("pa", 7), ("ad", 9), ("rd", 6), ("tls", 10)];

/// Finds rules that no test carries, and tests that carry one which does not exist.
pub fn have_tests(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut carried = BTreeSet::new();
    for file in files.iter().filter(|file| file.extension() == "rs") {
        for (family, number) in tests(&file.text).flat_map(ids) {
            let last = FAMILIES.iter().find(|(known, _)| *known == family);
            if last.is_some_and(|(_, last)| (1..=*last).contains(&number)) {
                carried.insert((family, number));
            } else {
                let id = family.to_ascii_uppercase();
                findings.push(Finding::new(
                    &file.path,
                    format!("there is no rule {id}-{number}"),
                ));
            }
        }
    }
    for (family, last) in FAMILIES {
        let missing = (1..=last).filter(|number| !carried.contains(&(family, *number)));
        findings.extend(missing.map(|number| {
            let id = family.to_ascii_uppercase();
            Finding::new(
                format!("{id}-{number}"),
                format!("no test carries it: name one `{family}{number}_…`"),
            )
        }));
    }
    findings
}

/// The names of the tests of a file. A function is one when `#[test]`, or another attribute that ends so, stands above it.
fn tests(text: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    text.lines().map(str::trim).filter_map(move |line| {
        let name = line.trim_start_matches("async ").strip_prefix("fn ");
        match name.and_then(|rest| rest.split_once('(')) {
            Some((name, _)) => std::mem::take(&mut is_test).then_some(name),
            None => {
                is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
                None
            }
        }
    })
}

/// The ids in a name: `fr1_and_tls10_hold` has FR-1 and TLS-10.
fn ids(name: &str) -> impl Iterator<Item = (&'static str, u32)> {
    name.split('_').filter_map(|part| {
        FAMILIES.iter().find_map(|(family, _)| {
            let number = part.strip_prefix(family)?;
            Some((*family, number.parse().ok()?))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_without_a_test_and_an_id_without_a_rule_are_found() {
        let all: String = FAMILIES
            .iter()
            .flat_map(|(family, last)| (1..=*last).map(move |number| (family, number)))
            .filter(|rule| *rule != (&"pa", 5))
            .map(|(family, number)| format!("    #[test]\n    fn x_{family}{number}() {{}}\n"))
            .collect();
        let held = SourceFile::sample("gateway/src/a.rs", &all);
        let helper = SourceFile::sample("gateway/src/b.rs", "fn pa5_a_helper() {}\n");
        let found = have_tests(&[held.clone(), helper]);
        assert_eq!(
            found
                .iter()
                .map(|finding| finding.place.as_str())
                .collect::<Vec<_>>(),
            ["PA-5"]
        );

        let other = "#[tokio::test(flavor = \"multi_thread\")]\nasync fn pa5_tls11_b() {\n";
        let found = have_tests(&[held, SourceFile::sample("gateway/src/c.rs", other)]);
        assert_eq!(
            found,
            [Finding::new("gateway/src/c.rs", "there is no rule TLS-11")]
        );
    }
}
