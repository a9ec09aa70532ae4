//! Policy files on disk and in the binary.

use std::fs;
use std::path::Path;

use ::policy::SourceFile;
use anyhow::Context as _;

use crate::{Unreadable, durable_file};

/// The shipped policies, by their name in `policies/`.
const SHIPPED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shipped_policies.rs"));

/// Reads every policy file below `directory`, as the gateway does: all that ends in `.yaml`, hidden files aside.
///
/// # Errors
/// [`Unreadable`] when the directory or a file cannot be read, or there is no policy in it.
pub(crate) fn read(directory: &Path) -> Result<Vec<SourceFile>, Unreadable> {
    let mut files = Vec::new();
    collect(directory, "", &mut files)?;
    if files.is_empty() {
        return Err(Unreadable(format!(
            "{}: no policy files (*.yaml)",
            directory.display()
        )));
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn collect(directory: &Path, prefix: &str, files: &mut Vec<SourceFile>) -> Result<(), Unreadable> {
    let unreadable = |path: &Path, error: std::io::Error| Unreadable(format!("{}: {error}", path.display()));
    for entry in fs::read_dir(directory).map_err(|error| unreadable(directory, error))? {
        let path = entry.map_err(|error| unreadable(directory, error))?.path();
        let Some(name) = path
            .file_name()
            .and_then(|name| name.to_str())
            .filter(|name| !name.starts_with('.'))
        else {
            continue;
        };
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            collect(&path, &format!("{name}/"), files)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
            files.push(SourceFile { name, text });
        }
    }
    Ok(())
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
    }

    #[test]
    fn a_directory_without_policies_is_unreadable() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(".hidden.yaml"), "version: 1").unwrap();
        assert!(read(root.path()).unwrap_err().0.contains("no policy files"));
        assert!(read(&root.path().join("missing")).is_err());
    }
}
