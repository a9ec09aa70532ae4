//! Policy files on disk and in the binary.

use std::fs;
use std::path::{Component, Path};

use ::policy::{Diagnostic, Refusal, Severity, SourceFile, environments, render, sarif};
use anyhow::Context as _;

use crate::arguments::FindingsFormat;
use crate::{Unreadable, durable_file, output};

/// The shipped policies, by their name in `policies/`.
const SHIPPED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shipped_policies.rs"));

/// Reads every policy file below `directory` with the gateway's own reader.
///
/// # Errors
/// [`Unreadable`] when the directory or a file cannot be read, or it is empty. What is no policy is among the files, and
/// a finding of the compiler.
pub(crate) fn read(directory: &Path) -> Result<Vec<SourceFile>, Unreadable> {
    let files = gateway::read_policies(directory).map_err(|error| Unreadable(format!("{error:#}")))?;
    if files.is_empty() {
        return Err(Unreadable(format!(
            "{}: no policy files (*.yaml)",
            directory.display()
        )));
    }
    Ok(files)
}

/// Reads every case file in the `tests/` of a policy directory; none when it has no such folder.
///
/// # Errors
/// [`Unreadable`] when a file cannot be read, or something there is no case file.
pub(crate) fn read_cases(directory: &Path) -> Result<Vec<SourceFile>, Unreadable> {
    gateway::read_cases(directory).map_err(|error| Unreadable(format!("{error:#}")))
}

/// What to print for programs when a policy folder cannot be read: they wait for a document, not for an exit code.
pub(crate) fn unreadable(fault: &Unreadable, directory: &Path, format: FindingsFormat) -> Option<String> {
    let finding = Diagnostic {
        code: "P1013",
        severity: Severity::Error,
        file: directory.display().to_string(),
        line: 0,
        column: 0,
        length: 0,
        message: fault.0.clone(),
        why: "what is not read is not checked".to_owned(),
        fix: Some("name a folder with policy files that this user may read".to_owned()),
        related: None,
    };
    match format {
        FindingsFormat::Human => None,
        FindingsFormat::Json => Some(render::json(&[finding])),
        FindingsFormat::Sarif => Some(sarif::check(&[finding], "")),
    }
}

/// Refuses an environment that a bundle does not have.
///
/// # Errors
/// [`Unreadable`], with the environments that there are; programs get the finding of the compiler as well.
pub(crate) fn known_environment(
    name: &str,
    files: &[SourceFile],
    format: FindingsFormat,
) -> Result<(), Unreadable> {
    let known = environments(files);
    // Of a folder that was not read to its end, the overlay may be what is missing.
    let is_cut = files
        .iter()
        .any(|file| matches!(file.refusal, Some(Refusal::TooMany(_) | Refusal::TooManyBytes)));
    if is_cut || known.contains(&name) {
        return Ok(());
    }
    let mut findings = ::policy::compile(files, name).err().unwrap_or_default();
    findings.retain(|finding| finding.code == "P4001");
    match format {
        FindingsFormat::Human => {}
        FindingsFormat::Json => output::line(&render::json(&findings)),
        FindingsFormat::Sarif => output::line(&sarif::check(&findings, "")),
    }
    Err(Unreadable(format!(
        "there is no environment `{name}`, only {}",
        known.join(", ")
    )))
}

/// The policy folder as a repository names it: a relative path from the top. Empty when the folder was given in a way
/// that says nothing about a repository.
pub(crate) fn name_in_repository(directory: &Path) -> String {
    let is_below = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !directory.components().all(is_below) {
        return String::new();
    }
    directory.to_string_lossy().replace('\\', "/")
}

/// Writes the shipped policies into a directory that does not exist yet, for the security team to edit.
pub(crate) fn write_shipped(directory: &Path) -> anyhow::Result<()> {
    let draft = directory.with_extension("new");
    if draft.exists() {
        fs::remove_dir_all(&draft).with_context(|| format!("cannot remove {}", draft.display()))?;
    }
    for (name, text) in SHIPPED {
        let path = draft.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        durable_file::write(&path, text.as_bytes(), 0o644)?;
    }
    fs::rename(&draft, directory).with_context(|| format!("cannot make {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_policies_are_in_the_binary_and_compile() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("policies");
        write_shipped(&directory).unwrap();
        let files = read(&directory).unwrap();
        for environment in ["development", "test", "production"] {
            let compiled = ::policy::compile(&files, environment);
            assert!(compiled.is_ok(), "{environment}: {:?}", compiled.err());
        }
        let cases = read_cases(&directory).unwrap();
        assert!(!cases.is_empty() && ::policy::cases::Suite::read(&cases).is_ok());
    }

    #[test]
    fn what_is_no_policy_is_found_not_ignored_and_nothing_waits_for_a_pipe() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for (name, text) in [
            ("floor.yaml", "version: 1"),
            ("README.md", "about"),
            ("portico.schema.json", "{}"),
            (".floor.yaml.swp", "\0"),
            ("routes.yml", "version: 1"),
            ("routes.YAML", "version: 1"),
            ("routes", "version: 1"),
            ("data.json", "{}"),
        ] {
            fs::write(path(name), text).unwrap();
        }
        fs::write(path("large.yaml"), "#".repeat(10 * 1024 * 1024)).unwrap();
        fs::write(path("latin.yaml"), b"# caf\xe9").unwrap();
        fs::create_dir(path("folder.yaml")).unwrap();
        for (target, name) in [
            ("/dev/zero", "zero.yaml"),
            ("nowhere", "dangling.yaml"),
            ("loop.yaml", "loop.yaml"),
        ] {
            rustix::fs::symlink(target, path(name)).unwrap();
        }
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path("pipe.yaml"),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        let files = read(root.path()).unwrap();
        let refusals: Vec<String> = files
            .iter()
            .filter_map(|file| Some(format!("{} {:?}", file.name, file.refusal.as_ref()?)))
            .collect();
        let expected = [
            "dangling.yaml NotAFile(\"a link that leads nowhere\")",
            "data.json WrongName",
            "folder.yaml NotAFile(\"a folder\")",
            "large.yaml TooLarge",
            "latin.yaml NotUtf8(Latin1, 1, 6)",
            "loop.yaml NotAFile(\"a link that leads nowhere\")",
            "pipe.yaml NotAFile(\"a pipe\")",
            "routes WrongName",
            "routes.YAML WrongName",
            "routes.yml WrongName",
            "zero.yaml NotAFile(\"a link that leads out of the policy folder\")",
        ];
        assert_eq!(refusals, expected);
        assert_eq!(files.len(), expected.len() + 1, "and floor.yaml");
        let found = ::policy::compile(&files, "production").unwrap_err();
        for refusal in refusals {
            let name = refusal.split(' ').next().unwrap();
            assert!(found.iter().any(|finding| finding.file == name), "{name}");
        }
    }

    #[test]
    fn a_wrong_directory_is_not_read_to_its_end() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..1_001 {
            fs::write(root.path().join(format!("{number}.yaml")), "version: 1").unwrap();
        }
        let files = read(root.path()).unwrap();
        assert_eq!(
            files,
            [SourceFile::refused("", ::policy::Refusal::TooMany(1_000))]
        );
    }

    #[test]
    fn a_directory_without_policies_is_unreadable() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(".hidden.yaml"), "version: 1").unwrap();
        assert!(read(root.path()).unwrap_err().0.contains("no policy files"));
        assert!(read(&root.path().join("missing")).is_err());
    }
}
