//! Every rule of this crate, over the files git would commit.
#![cfg(test)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use cargo_metadata::{Metadata, MetadataCommand};
use tidy::tree::{SourceFile, committed_files, committed_paths, root};
use tidy::{Finding, documents, graph, machine_paths, manifests, report, rules, rust_source, skips};

fn files() -> Vec<SourceFile> {
    committed_files(&root()).expect("run from a git checkout")
}

fn named(path: &str) -> SourceFile {
    files()
        .into_iter()
        .find(|file| file.path == path)
        .unwrap_or_else(|| panic!("{path} is missing"))
}

/// Runs `rule` over every file and fails with everything it found.
fn hold(rule: impl Fn(&SourceFile) -> Vec<Finding>) {
    let files = files();
    assert!(files.len() > 50, "the tree was not read: {} files", files.len());
    nothing(&files.iter().flat_map(rule).collect::<Vec<_>>());
}

fn nothing(findings: &[Finding]) {
    assert!(
        findings.is_empty(),
        "{} found:{}",
        findings.len(),
        report(findings)
    );
}

fn metadata() -> Metadata {
    let system = if cfg!(target_os = "macos") {
        "apple-darwin"
    } else {
        "unknown-linux-gnu"
    };
    let target = format!("{}-{system}", std::env::consts::ARCH);
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(["--offline".to_owned(), "--filter-platform".to_owned(), target])
        .exec()
        .expect("cargo metadata")
}

#[test]
fn every_rust_file_says_what_it_is() {
    hold(rust_source::module_header);
}

#[test]
fn no_file_is_named_after_nothing() {
    hold(rust_source::telling_name);
}

#[test]
fn open_ends_name_their_issue() {
    hold(rust_source::no_open_ends);
}

/// INV-A6.
#[test]
fn sql_stands_in_stores() {
    hold(rust_source::sql_in_store);
}

#[test]
fn nothing_names_a_path_of_one_machine() {
    #[expect(
        clippy::disallowed_methods,
        reason = "asks for this machine's home directory, to search for it"
    )]
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let own: Vec<String> = [root(), home]
        .iter()
        .map(|path| format!("{}/", path.display()))
        .collect();
    hold(|file| machine_paths::no_machine_paths(file, &own));
}

#[test]
fn every_crate_inherits_from_the_workspace() {
    hold(manifests::inherits_from_workspace);
}

#[test]
fn every_dependency_is_used() {
    let files = files();
    hold(|file| match file.name() {
        "Cargo.toml" => manifests::dependencies_are_used(file, &files, manifests::UNMENTIONED),
        _ => Vec::new(),
    });
    let is_member = |folder: &str| {
        files
            .iter()
            .any(|file| file.path == format!("{folder}/Cargo.toml"))
    };
    assert!(
        manifests::UNMENTIONED
            .iter()
            .all(|(folder, _, _)| is_member(folder))
    );
}

#[test]
fn every_decision_has_a_status() {
    hold(documents::decision_has_status);
    let files = files();
    nothing(&documents::decisions_are_indexed(
        &named("docs/adr/README.md"),
        &files,
    ));
}

#[test]
fn every_link_resolves() {
    let files = files();
    let paths: BTreeSet<String> = committed_paths(&root())
        .expect("run from a git checkout")
        .into_iter()
        .collect();
    let links = files
        .iter()
        .flat_map(|file| documents::links_resolve(file, &files, &paths));
    let named = files.iter().flat_map(|file| documents::paths_exist(file, &paths));
    nothing(&links.chain(named).collect::<Vec<_>>());
}

#[test]
fn every_metric_that_is_documented_exists() {
    let files = files();
    nothing(
        &files
            .iter()
            .flat_map(|file| documents::portico_names_exist(file, &files))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn every_make_target_that_is_named_exists() {
    let makefile = named("Makefile").text;
    hold(|file| documents::make_targets_exist(file, &makefile));
}

#[test]
fn every_invariant_names_tests_that_exist() {
    nothing(&documents::invariants_are_held(
        &named("docs/architecture.md"),
        &files(),
    ));
}

#[test]
fn every_invariant_that_is_cited_exists() {
    let page = named("docs/architecture.md");
    hold(|file| documents::cited_invariants_exist(&page, file));
}

#[test]
fn every_rule_of_the_edge_has_a_test_that_carries_its_id() {
    nothing(&rules::have_tests(&files()));
}

#[test]
fn every_test_that_can_skip_is_listed() {
    nothing(&skips::are_listed(&named("docs/testing.md"), &files()));
}

/// INV-A4: services never name each other; only the gateway names pingora.
#[test]
fn the_crate_graph_is_the_planned_one() {
    let edges = graph::direct_dependencies(&metadata());
    nothing(&graph::own_edges_are(&edges, &graph::ALLOWED));
    nothing(&graph::reserved_crates(&edges, &graph::RESERVED));
}

/// INV-A5: policy and keyring reach no runtime, socket, database or clock.
#[test]
fn pure_crates_are_pure() {
    let metadata = metadata();
    for (name, forbidden) in graph::PURE {
        let below = graph::built_from(&metadata, name);
        assert!(below.contains("serde"), "nothing was resolved for {name}");
        nothing(&graph::impure(name, &below, forbidden));
    }
}

#[test]
fn duplicate_crates_are_listed_with_their_reason() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).expect(name);
    let skipped = manifests::skipped_duplicates(&read("deny.toml"));
    // What is built for this platform; `cargo deny` sees the others too.
    let output = Command::new("cargo")
        .args([
            "tree",
            "--workspace",
            "--offline",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(root())
        .output()
        .expect("cargo tree");
    let versions = manifests::versions_in(&String::from_utf8_lossy(&output.stdout));
    assert!(
        versions.len() > 100,
        "nothing was resolved: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    nothing(&manifests::duplicates_are_listed(
        &versions,
        &skipped,
        &manifests::locked(&read("Cargo.lock")),
    ));
}
