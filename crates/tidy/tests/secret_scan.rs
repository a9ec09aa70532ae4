//! `scripts/secret-scan` finds what it claims to find, and nothing in the tree.
#![cfg(test)]

use std::path::Path;
use std::process::{Command, Output};

use tidy::tree::root;

fn scan(files: &[&Path]) -> Output {
    Command::new(root().join("scripts/secret-scan"))
        .args(files)
        .output()
        .expect("bash runs the scan")
}

/// Scans one file of that name and content; says whether something was found.
fn finds(name: &str, text: &str) -> bool {
    let folder = tempfile::tempdir().expect("temporary directory");
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("sample is written");
    let output = scan(&[&path]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        !shown.contains(text.trim()) || text.trim().is_empty(),
        "the secret itself was printed: {shown}"
    );
    match output.status.code() {
        Some(0) => false,
        Some(1) => true,
        other => panic!("exit {other:?}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

#[test]
fn the_tree_has_no_secret() {
    let output = scan(&[]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

/// The samples are put together here, so that this file is not a finding itself.
#[test]
fn each_kind_of_secret_is_found() {
    let samples = [
        format!("-----BEGIN {}-----\nMC4C\n", "PRIVATE KEY"),
        format!("-----BEGIN EC {}-----\n", "PRIVATE KEY"),
        format!("key = \"{}{}\"\n", "AKIA", "IOSFODNN7EXAMPLE"),
        format!("token: {}{}\n", "ghp_", "a".repeat(36)),
        format!("{}{}\n", "sk_live_", "b".repeat(24)),
        format!(
            "Authorization: Bearer {}{}.{}{}.{}\n",
            "eyJ",
            "c".repeat(20),
            "eyJ",
            "d".repeat(20),
            "e".repeat(43)
        ),
        format!("{}{}.{}\n", "rt1.", "f".repeat(24), "g".repeat(43)),
        format!(
            "url: postgres://portico:{}@db.bank.example/portico\n",
            "hunter2hunter2"
        ),
    ];
    for sample in samples {
        assert!(finds("settings.yaml", &sample), "not found: {sample}");
    }
}

#[test]
fn files_that_are_secrets_are_found_by_name() {
    for name in ["gateway.key", "ca.pem", "kek", ".env"] {
        assert!(finds(name, ""), "{name}");
    }
}

#[test]
fn references_to_secrets_and_waivers_are_silent() {
    let reference =
        "url: file:/run/secrets/db_core\nexample: postgres://portico_core@/portico?host=/run/postgresql\n";
    assert!(!finds("settings.yaml", reference));
    let waived = format!(
        "{}{} # secret-scan: allow, published test vector\n",
        "AKIA", "IOSFODNN7EXAMPLE"
    );
    assert!(!finds("settings.yaml", &waived));
}
