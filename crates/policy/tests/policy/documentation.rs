//! The reference of the language cannot drift: its examples compile, its tables are whole.

use crate::world::{plan, shipped, shipped_folder};
use policy::{SourceFile, language};
use std::{collections::BTreeSet, fs};

const REFERENCE: &str = include_str!("../../../../docs/policy-language.md");
const AUDIT: &str = include_str!("../../../../docs/policy-audit.md");

/// Every YAML block of the reference.
pub(crate) fn examples() -> Vec<String> {
    let blocks = REFERENCE.split("```yaml\n").skip(1);
    blocks
        .filter_map(|block| block.split_once("```"))
        .map(|(yaml, _)| yaml.to_owned())
        .collect()
}

/// Top-level sections of a YAML text, each with its lines.
fn sections(yaml: &str) -> Vec<(String, String)> {
    let mut sections: Vec<(String, String)> = Vec::new();
    for line in yaml.lines() {
        match line.split_once(':') {
            Some((key, _)) if line.starts_with(|first: char| first.is_ascii_lowercase()) => {
                sections.push((key.to_owned(), format!("{line}\n")));
            }
            _ => {
                if let Some((_, text)) = sections.last_mut() {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
    }
    sections
}

/// A fragment stands in for the same sections of the whole bundle at the top of the page.
fn completed(fragment: &str, whole: &str) -> Vec<SourceFile> {
    let file = |name: &str, text: String| SourceFile::new(name, text);
    let given: BTreeSet<String> = sections(fragment).into_iter().map(|(key, _)| key).collect();
    if given.contains("environment") {
        let name = "environments/development.yaml";
        return vec![
            file("whole.yaml", whole.to_owned()),
            file(name, fragment.to_owned()),
        ];
    }
    let rest: String = sections(whole)
        .into_iter()
        .filter(|(key, _)| key == "version" || !given.contains(key))
        .map(|(_, text)| text)
        .collect();
    let mut files = vec![file("fragment.yaml", fragment.to_owned())];
    if fragment.contains("core-api.openapi.json") {
        // The one document of the page stands below its fragment.
        let document = REFERENCE
            .split("```json\n")
            .nth(1)
            .and_then(|rest| rest.split_once("```"));
        files.push(file(
            "core-api.openapi.json",
            document.expect("a document").0.to_owned(),
        ));
    }
    if sections(&rest).len() > 1 {
        files.push(file("rest.yaml", rest));
    }
    files
}

#[test]
fn the_waiver_of_the_page_about_audits_is_one() {
    let block = AUDIT
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split_once("```"));
    let (example, _) = block.expect("an example");
    let mut files = shipped();
    files.push(SourceFile::new("waivers.yaml", example));
    let waiver = plan(&files, "production")
        .waivers()
        .first()
        .map(|waiver| waiver.code.clone());
    assert_eq!(waiver.as_deref(), Some("A1203"));
}

#[test]
fn every_example_compiles() {
    let examples = examples();
    let whole = examples.first().expect("a whole bundle");
    assert!(
        examples.len() >= 11,
        "the page lost its examples: {}",
        examples.len()
    );
    for example in &examples {
        let files = completed(example, whole);
        let environment = if example.contains("environment:") {
            "development"
        } else {
            "production"
        };
        plan(&files, environment);
    }
}

#[test]
fn every_code_is_explained_and_no_other() {
    let source = include_str!("../../src/diagnostic.rs");
    let defined: BTreeSet<&str> = source
        .split('"')
        .filter(|word| word.len() == 5 && word.starts_with('P'))
        .collect();
    let explained: BTreeSet<&str> = REFERENCE
        .lines()
        .filter_map(|line| line.strip_prefix("| P")?.split(' ').next())
        .filter(|digits| digits.len() == 4)
        .collect();
    let defined: BTreeSet<&str> = defined.iter().filter_map(|code| code.strip_prefix('P')).collect();
    assert_eq!(explained, defined);
}

/// The words of SARIF rules are those of the reference.
#[test]
fn every_code_has_its_title_in_the_reference() {
    let source = include_str!("../../src/diagnostic.rs");
    let titles = source.split_once("const TITLES").expect("a table").1;
    let titles: BTreeSet<String> = titles
        .lines()
        .filter_map(|line| line.trim().strip_prefix("(\"")?.strip_suffix("\"),"))
        .map(|row| row.replace("\", \"", " | "))
        .collect();
    let codes = REFERENCE.split_once("## Codes").expect("a chapter").1;
    let rows: BTreeSet<String> = codes
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .filter(|row| row.starts_with('P') && row.get(5..8) == Some(" | "))
        .map(str::to_owned)
        .collect();
    assert!(rows.len() >= 47, "{rows:?}");
    assert_eq!(titles, rows);
}

#[test]
fn every_phase_is_explained_in_order() {
    let table: Vec<&str> = REFERENCE
        .split_once("## Phases")
        .expect("a chapter")
        .1
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
        .filter(|word| *word != "phase" && *word != "---")
        .take(policy::Phase::ALL.len())
        .collect();
    assert_eq!(table, policy::Phase::ALL.map(policy::Phase::as_str));
}

#[test]
fn every_key_is_explained() {
    let keys = [language::BASE, language::OVERLAY].map(language::paths).concat();
    assert!(keys.len() >= 70, "{}", keys.len());
    for (path, key) in keys {
        let name = key.name;
        let marks = [
            format!("`{name}`"),
            format!(".{name}`"),
            format!(".{name}."),
            format!("`{name}."),
        ];
        let is_section = REFERENCE.contains(&format!("\n## `{name}`"));
        assert!(
            is_section || name == "version" || marks.iter().any(|mark| REFERENCE.contains(mark)),
            "{path}"
        );
    }
}

#[test]
fn the_readme_points_to_files_that_are_there() {
    let readme = fs::read_to_string(shipped_folder().join("README.md")).expect("a README");
    let links: Vec<&str> = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .collect();
    assert!(links.len() >= 8);
    for link in links {
        assert!(shipped_folder().join(link).exists(), "{link}");
    }
}
