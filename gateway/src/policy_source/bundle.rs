//! A policy bundle on disk: the directory that people edit, and the last good copy that the gateway keeps.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use aws_lc_rs::digest::{SHA256, digest};
use policy::{SourceFile, cases};
use serde::{Deserialize, Serialize};

use crate::durable_file::write_atomically;

/// A bundle beyond this is a mistake, such as a wrong directory.
const MAX_FILES: usize = 1_000;
const MAX_FILE_BYTES: u64 = 1024 * 1024;
const MAX_DEPTH: usize = 8;

/// Every `*.yaml` below the directory, by relative name, sorted. Dot files, `*.md` and `*.schema.json` are left out, and so is `tests/`:
/// cases say what a policy should do and must not be able to stop it. Any other file is an error, because a policy under
/// a wrong name would silently not be there.
///
/// # Errors
/// When the directory or a file cannot be read whole, or a file is not what belongs here.
pub fn read_directory(root: &Path) -> anyhow::Result<Vec<SourceFile>> {
    read_below(root, root)
}

/// Every `*.yaml` below the directory's `tests/`, by its name relative to the directory; none when there is no such
/// folder.
///
/// # Errors
/// As of [`read_directory`].
pub fn read_cases(root: &Path) -> anyhow::Result<Vec<SourceFile>> {
    let folder = root.join(cases::FOLDER);
    if folder.is_dir() {
        read_below(root, &folder)
    } else {
        Ok(Vec::new())
    }
}

fn read_below(root: &Path, start: &Path) -> anyhow::Result<Vec<SourceFile>> {
    let cases = root.join(cases::FOLDER);
    let mut files = Vec::new();
    let mut directories = vec![(start.to_owned(), 0_usize)];
    while let Some((directory, depth)) = directories.pop() {
        let entries = fs::read_dir(&directory).with_context(|| format!("reading {}", directory.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("reading {}", directory.display()))?;
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') || (path == cases && path.is_dir()) {
                continue;
            }
            if path.is_dir() {
                if depth >= MAX_DEPTH {
                    bail!("{}: more than {MAX_DEPTH} directories deep", path.display());
                }
                directories.push((path, depth.saturating_add(1)));
            } else {
                if is_policy(&path)? {
                    files.push(read_file(root, &path)?);
                }
            }
            if files.len() > MAX_FILES {
                bail!("{}: more than {MAX_FILES} policy files", root.display());
            }
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Whether a file of the policy directory is a policy, and not words about it.
///
/// # Errors
/// When it does not belong there.
pub fn is_policy(path: &Path) -> anyhow::Result<bool> {
    match path.extension().and_then(std::ffi::OsStr::to_str) {
        Some("yaml") => Ok(true),
        Some("md") => Ok(false),
        // For editors.
        Some("json") if path.to_string_lossy().ends_with(".schema.json") => Ok(false),
        _ => bail!(
            "{}: not a policy file, which ends in `.yaml`: rename it, or move it out of the policy directory",
            path.display()
        ),
    }
}

fn read_file(root: &Path, path: &Path) -> anyhow::Result<SourceFile> {
    let reading = || format!("reading {}", path.display());
    // Opening a pipe would wait for its other end, and a device has no end at all.
    if !fs::metadata(path).with_context(reading)?.is_file() {
        bail!("{}: not a regular file", path.display());
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).with_context(reading)?;
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(reading)?;
    if bytes.len() > usize::try_from(MAX_FILE_BYTES)? {
        bail!("{}: larger than {MAX_FILE_BYTES} bytes", path.display());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error
            .as_bytes()
            .get(..error.utf8_error().valid_up_to())
            .unwrap_or_default();
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        anyhow::anyhow!("{}:{line}: not UTF-8", path.display())
    })?;
    let name = path
        .strip_prefix(root)
        .unwrap_or(path)
        .to_string_lossy()
        .into_owned();
    Ok(SourceFile { name, text })
}

/// Tells two states of a directory apart.
pub(super) fn fingerprint(files: &[SourceFile]) -> Vec<u8> {
    let mut all = Vec::new();
    for file in files {
        for part in [&file.name, &file.text] {
            all.extend_from_slice(&part.len().to_be_bytes());
            all.extend_from_slice(part.as_bytes());
        }
    }
    digest(&SHA256, &all).as_ref().to_vec()
}

/// The last bundle that compiled, in one file so that it is whole or not there.
#[derive(Serialize, Deserialize)]
struct LastGood {
    files: Vec<StoredFile>,
}

#[derive(Serialize, Deserialize)]
struct StoredFile {
    name: String,
    text: String,
}

fn last_good_path(state_dir: &Path) -> PathBuf {
    state_dir.join("policy").join("last-good.json")
}

/// Keeps a bundle that compiled.
pub(super) fn store_last_good(state_dir: &Path, files: &[SourceFile]) -> anyhow::Result<()> {
    let path = last_good_path(state_dir);
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    }
    let stored = files
        .iter()
        .map(|file| StoredFile {
            name: file.name.clone(),
            text: file.text.clone(),
        })
        .collect();
    write_atomically(&path, &serde_json::to_vec(&LastGood { files: stored })?)
}

/// The bundle that compiled last, from the gateway's state directory; `None` when there never was one.
///
/// # Errors
/// When it is there and cannot be read.
pub fn load_last_good(state_dir: &Path) -> anyhow::Result<Option<Vec<SourceFile>>> {
    let path = last_good_path(state_dir);
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let stored: LastGood =
        serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))?;
    Ok(Some(
        stored
            .files
            .into_iter()
            .map(|file| SourceFile {
                name: file.name,
                text: file.text,
            })
            .collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[SourceFile]) -> Vec<&str> {
        files.iter().map(|file| file.name.as_str()).collect()
    }

    #[test]
    fn cases_are_no_part_of_the_bundle_and_cannot_break_it() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        write("floor.yaml", b"version: 1");
        write("routes/tests/a.yaml", b"version: 1");
        let before = fingerprint(&read_directory(root.path()).unwrap());
        assert!(read_cases(root.path()).unwrap().is_empty());

        write("tests/transfers.yaml", b"version: 1");
        write("tests/deeper/more.yaml", b"version: 1");
        let bundle = read_directory(root.path()).unwrap();
        assert_eq!(names(&bundle), ["floor.yaml", "routes/tests/a.yaml"]);
        assert_eq!(fingerprint(&bundle), before);
        let cases = read_cases(root.path()).unwrap();
        assert_eq!(names(&cases), ["tests/deeper/more.yaml", "tests/transfers.yaml"]);

        for (name, bytes) in [("tests/b.yaml", &b"\xff"[..]), ("tests/b.yml", b"version: 1")] {
            write(name, bytes);
            assert_eq!(
                fingerprint(&read_directory(root.path()).unwrap()),
                before,
                "{name}"
            );
            assert!(read_cases(root.path()).is_err(), "{name}");
            fs::remove_file(root.path().join(name)).unwrap();
        }
    }
}
