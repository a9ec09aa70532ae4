//! Rules for `Cargo.toml`, `Cargo.lock` and `deny.toml`.

use std::collections::{BTreeMap, BTreeSet};

use crate::Finding;
use crate::tree::SourceFile;

/// Every member takes its lints, edition and versions from the workspace. A package with a workspace of its own is none.
pub fn inherits_from_workspace(manifest: &SourceFile) -> Vec<Finding> {
    let is_member = manifest.text.contains("[package]") && !manifest.text.contains("[workspace]");
    if manifest.name() != "Cargo.toml" || !is_member {
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

/// Dependencies that no source file mentions and that stay: the crate's folder, the dependency, and why.
pub const UNMENTIONED: &[(&str, &str, &str)] = &[];

/// Every dependency of a member is mentioned in its Rust files, or stands in `exceptions` with a reason.
///
/// Read are the files below the manifest, and those of test targets that it names outside (`path = "../e2e/main.rs"`).
/// A mention is a path (`serde_json::Value`) or a `use`, not a comment. An exception that is not needed is found too.
pub fn dependencies_are_used(
    manifest: &SourceFile,
    files: &[SourceFile],
    exceptions: &[(&str, &str, &str)],
) -> Vec<Finding> {
    let Some(folder) = manifest.path.strip_suffix("/Cargo.toml") else {
        return Vec::new();
    };
    let above = folder
        .rsplit_once('/')
        .map_or(String::new(), |(above, _)| format!("{above}/"));
    let outside = manifest
        .text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("path = \"../")?.split_once('/'))
        .map(|(name, _)| format!("{above}{name}/"));
    let folders: Vec<String> = outside.chain([format!("{folder}/")]).collect();
    let is_read = |file: &&SourceFile| {
        file.extension() == "rs" && folders.iter().any(|start| file.path.starts_with(start))
    };
    let sources: Vec<&SourceFile> = files.iter().filter(is_read).collect();
    let named: BTreeSet<&str> = ["dependencies", "dev-dependencies", "build-dependencies"]
        .into_iter()
        .flat_map(|table| section(&manifest.text, table))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .collect();
    let excused: BTreeSet<&str> = exceptions
        .iter()
        .filter(|(of, _, reason)| *of == folder && !reason.is_empty())
        .map(|(_, name, _)| *name)
        .collect();
    let is_mentioned = |name: &str| {
        let name = name.replace('-', "_");
        sources.iter().any(|file| mentions_crate(&file.text, &name))
    };
    let unused = named
        .difference(&excused)
        .filter(|name| !is_mentioned(name))
        .map(|name| format!("no source file mentions `{name}`; remove it, or list it in tidy's UNMENTIONED"));
    let needless = excused
        .iter()
        .filter(|name| !named.contains(*name) || is_mentioned(name))
        .map(|name| format!("`{name}` needs no exception; remove it from tidy's UNMENTIONED"));
    unused
        .chain(needless)
        .map(|message| Finding::new(&manifest.path, message))
        .collect()
}

/// Whether code names the crate `name`: as the beginning of a path, or in a `use` of the crate itself.
fn mentions_crate(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.match_indices(name).map(move |(start, _)| (line, start)))
        .any(|(line, start)| {
            let before = line.get(..start).unwrap_or_default();
            let after = line.get(start.saturating_add(name.len())..).unwrap_or_default();
            let is_path = after.starts_with("::") && !before.ends_with(|c| is_part(c) || c == ':');
            let is_use = before.ends_with("use ") && !after.starts_with(is_part);
            // `::name::…` begins with the crate as well, `other::name::…` does not.
            let is_rooted = after.starts_with("::")
                && before
                    .strip_suffix("::")
                    .is_some_and(|root| !root.ends_with(is_part));
            is_path || is_use || is_rooted
        })
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
    fn a_dependency_that_no_source_file_mentions_is_found() {
        let manifest = SourceFile::sample(
            "crates/a/Cargo.toml",
            "[package]\nname = \"a\"\n[dependencies]\nserde-json.workspace = true\n[dev-dependencies]\nbytes.workspace = true\n\
             [[test]]\npath = \"../stories/main.rs\"\n",
        );
        let check = |path: &str, text: &str| {
            dependencies_are_used(&manifest, &[SourceFile::sample(path, text)], &[]).len()
        };
        let both = "use serde_json as json;\nlet x: bytes::Bytes;\n";
        assert_eq!(check("crates/a/src/lib.rs", both), 0);
        assert_eq!(check("crates/stories/main.rs", both), 0, "a test target outside");
        assert_eq!(check("crates/ab/src/lib.rs", both), 2, "another crate");
        assert_eq!(check("crates/a/README.md", both), 2, "not Rust");
        assert_eq!(
            check(
                "crates/a/src/lib.rs",
                "// serde_json::Value\nlet bytes = my_bytes::x(http::bytes::y());\n"
            ),
            2,
            "comments, variables and other paths are no mention"
        );
        assert_eq!(
            check("crates/a/build.rs", "fn a() -> ::serde_json::Value {}\n"),
            1
        );
    }

    #[test]
    fn an_exception_needs_a_reason_and_a_need() {
        let manifest = SourceFile::sample("a/Cargo.toml", "[dependencies]\nbytes.workspace = true\n");
        let check = |text: &str, exceptions: &[(&str, &str, &str)]| {
            dependencies_are_used(&manifest, &[SourceFile::sample("a/src/lib.rs", text)], exceptions).len()
        };
        assert_eq!(check("", &[("a", "bytes", "turns a feature on")]), 0);
        assert_eq!(check("", &[("a", "bytes", "")]), 1);
        assert_eq!(check("", &[("b", "bytes", "of another crate")]), 1);
        assert_eq!(
            check("use bytes::Bytes;", &[("a", "bytes", "not needed any more")]),
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
