//! Rules for `Cargo.toml`, `Cargo.lock` and `deny.toml`.

use std::collections::{BTreeMap, BTreeSet};

use crate::Finding;
use crate::tree::SourceFile;

/// Every member takes its lints, edition and versions from the workspace.
pub fn inherits_from_workspace(manifest: &SourceFile) -> Vec<Finding> {
    if manifest.name() != "Cargo.toml" || !manifest.text.contains("[package]") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if section(&manifest.text, "lints").all(|line| line.replace(' ', "") != "workspace=true") {
        findings.push(Finding::new(
            &manifest.path,
            "does not inherit the lints: `[lints] workspace = true`",
        ));
    }
    for key in ["version", "edition", "rust-version", "license", "publish"] {
        if !manifest.text.contains(&format!("{key}.workspace = true")) {
            findings.push(Finding::new(
                &manifest.path,
                format!("`{key}` is not inherited from the workspace"),
            ));
        }
    }
    for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
        for line in section(&manifest.text, table) {
            if !line.contains("workspace = true") {
                let message = format!("`{line}`: versions stand in the root manifest only");
                findings.push(Finding::new(&manifest.path, message));
            }
        }
    }
    findings
}

/// The entries of one table of a manifest, without comments and empty lines.
fn section<'a>(manifest: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let header = format!("[{name}]");
    manifest
        .lines()
        .map(str::trim)
        .skip_while(move |line| *line != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The `name@version` entries of `skip` in `deny.toml`.
pub fn skipped_duplicates(deny: &str) -> BTreeSet<String> {
    deny.lines()
        .skip_while(|line| line.trim() != "skip = [")
        .take_while(|line| line.trim() != "]")
        .filter_map(|line| line.split_once("crate = \"")?.1.split_once('"'))
        .map(|(entry, _)| entry.to_owned())
        .collect()
}

/// The `name@version` pairs of a `Cargo.lock`.
pub fn locked(lockfile: &str) -> BTreeSet<String> {
    let value = |line: &str, key: &str| {
        line.strip_prefix(key)
            .and_then(|rest| rest.strip_prefix(" = \""))
            .map(|rest| rest.trim_end_matches('"').to_owned())
    };
    let mut found = BTreeSet::new();
    let mut name = None;
    for line in lockfile.lines() {
        if let Some(text) = value(line, "name") {
            name = Some(text);
        } else if let (Some(version), Some(name)) = (value(line, "version"), name.take()) {
            found.insert(format!("{name}@{version}"));
        }
    }
    found
}

/// The versions of each crate in the output of `cargo tree --prefix none --format {p}`.
pub fn versions_in(tree: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in tree.lines() {
        if let Some((name, rest)) = line.split_once(" v") {
            let version = rest.split_whitespace().next().unwrap_or(rest);
            versions
                .entry(name.to_owned())
                .or_default()
                .insert(version.to_owned());
        }
    }
    versions
}

/// Finds crates that stand twice without being listed, and entries of the list that are no longer locked.
pub fn duplicates_are_listed(
    versions: &BTreeMap<String, BTreeSet<String>>,
    skipped: &BTreeSet<String>,
    locked: &BTreeSet<String>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, versions) in versions {
        let unlisted: Vec<&String> = versions
            .iter()
            .filter(|version| !skipped.contains(&format!("{name}@{version}")))
            .collect();
        if unlisted.len() > 1 {
            let message =
                format!("`{name}` stands twice, as {unlisted:?}; use one, or list the older with its reason");
            findings.push(Finding::new("deny.toml", message));
        }
    }
    for entry in skipped.difference(locked) {
        findings.push(Finding::new(
            "deny.toml",
            format!("`{entry}` is not in Cargo.lock any more; remove it"),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = \"a\"\nversion.workspace = true\nedition.workspace = true\n\
        rust-version.workspace = true\nlicense.workspace = true\npublish.workspace = true\n\n[lints]\nworkspace = true\n\n\
        [dependencies]\nserde.workspace = true\nproblem = { workspace = true, features = [\"axum\"] }\n";

    fn set(entries: &[&str]) -> BTreeSet<String> {
        entries.iter().map(|entry| (*entry).to_owned()).collect()
    }

    #[test]
    fn a_manifest_that_inherits_everything_is_silent() {
        assert_eq!(
            inherits_from_workspace(&SourceFile::sample("a/Cargo.toml", GOOD)),
            Vec::new()
        );
    }

    #[test]
    fn missing_lints_and_a_version_of_its_own_are_found() {
        let bad = GOOD
            .replace("[lints]\nworkspace = true\n", "")
            .replace("serde.workspace = true", "serde = \"1\"");
        let findings = inherits_from_workspace(&SourceFile::sample("a/Cargo.toml", &bad));
        assert_eq!(findings.len(), 2, "{findings:?}");
        let bad = GOOD.replace("edition.workspace = true", "edition = \"2021\"");
        assert_eq!(
            inherits_from_workspace(&SourceFile::sample("a/Cargo.toml", &bad)).len(),
            1
        );
    }

    #[test]
    fn both_files_are_read() {
        let deny = "deny = [\n { crate = \"ring\" },\n]\nskip = [\n  { crate = \"rand@0.8.8\", reason = \"x\" },\n]\n";
        assert_eq!(skipped_duplicates(deny), set(&["rand@0.8.8"]));
        let lock = "version = 4\n\n[[package]]\nname = \"rand\"\nversion = \"0.8.8\"\n";
        assert_eq!(locked(lock), set(&["rand@0.8.8"]));
    }

    #[test]
    fn versions_are_read_from_a_tree() {
        let tree =
            "rand v0.8.8\npingora-core v0.9.1\n\nrand v0.9.5 (*)\ntidy v0.1.0 (/somewhere/crates/tidy)\n";
        let versions = versions_in(tree);
        assert_eq!(versions["rand"], set(&["0.8.8", "0.9.5"]));
        assert_eq!(versions["tidy"], set(&["0.1.0"]));
    }

    #[test]
    fn an_unlisted_duplicate_and_a_stale_entry_are_found() {
        let versions = BTreeMap::from([("rand".to_owned(), set(&["0.8.8", "0.9.5"]))]);
        let locked = set(&["rand@0.8.8", "rand@0.9.5"]);
        assert_eq!(duplicates_are_listed(&versions, &set(&[]), &locked).len(), 1);
        assert!(duplicates_are_listed(&versions, &set(&["rand@0.8.8"]), &locked).is_empty());
        assert_eq!(
            duplicates_are_listed(&versions, &set(&["rand@0.8.8", "syn@1.0.1"]), &locked).len(),
            1
        );
    }
}
