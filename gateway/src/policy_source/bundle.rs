//! A policy bundle on disk: the directory that people edit, and the last good copy that the gateway keeps.

use std::fs::{self, FileType, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest};
use policy::{MAX_BUNDLE_BYTES, MAX_FILE_BYTES, Refusal, SourceFile, cases};
use rustix::{fs::OFlags, io::Errno};
use serde::{Deserialize, Serialize};

use crate::durable_file::write_atomically;

/// A directory with more than this is a mistake, such as a wrong directory. Everything in it counts.
const MAX_ENTRIES: usize = 1_000;
const MAX_DEPTH: usize = 8;

/// Everything below the directory that is or looks like a policy, by relative name, sorted. Names with a leading dot
/// and files `*.md` and `*.schema.json` are left out, and so is `tests/`: cases say what a policy should do and must
/// not be able to stop it. What cannot be read as a policy is there with its [`Refusal`], so that the compiler tells of
/// it together with all else; its content is not read.
///
/// # Errors
/// When the directory or a file in it cannot be read, for want of permission for example.
pub fn read_directory(root: &Path) -> anyhow::Result<Vec<SourceFile>> {
    read_below(root, root)
}

/// The same of the directory's `tests/`, by names relative to the directory; none when there is no such folder.
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
    let (mut files, mut entries, mut bytes) = (Vec::new(), 0_usize, 0_usize);
    let mut directories = vec![(start.to_owned(), 0_usize)];
    while let Some((directory, depth)) = directories.pop() {
        let reading = || format!("reading {}", directory.display());
        for entry in fs::read_dir(&directory).with_context(reading)? {
            let entry = entry.with_context(reading)?;
            entries = entries.saturating_add(1);
            if entries > MAX_ENTRIES || bytes > MAX_BUNDLE_BYTES {
                return Ok(vec![SourceFile::refused("", Refusal::TooMany)]);
            }
            let path = entry.path();
            let file_name = entry.file_name();
            let file_name = file_name.to_string_lossy();
            let role = role(&file_name);
            let is_left_out = file_name.starts_with('.') || (role == Role::LeftOut && !path.is_dir());
            if is_left_out || (path == cases && path.is_dir()) {
                continue;
            }
            let name = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            match kind(&path)? {
                Kind::Directory if role == Role::Policy => {
                    files.push(SourceFile::refused(name, Refusal::NotAFile("a folder")));
                }
                Kind::Directory if depth >= MAX_DEPTH => {
                    files.push(SourceFile::refused(name, Refusal::TooDeep));
                }
                Kind::Directory => directories.push((path, depth.saturating_add(1))),
                Kind::Other(what) => files.push(SourceFile::refused(name, Refusal::NotAFile(what))),
                Kind::File if role == Role::Stray => {
                    files.push(SourceFile::refused(name, Refusal::WrongName));
                }
                Kind::File => {
                    let file = read_file(name, &path)?;
                    bytes = bytes.saturating_add(file.text.len());
                    files.push(file);
                }
            }
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// What a file in the policy directory is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A policy.
    Policy,
    /// Words about policies, or a help for editors.
    LeftOut,
    /// Neither: it does not belong there.
    Stray,
}

/// The role of a file, by its name without its directory.
#[must_use]
pub fn role(file_name: &str) -> Role {
    let is_for_others = [".md", ".schema.json"]
        .iter()
        .any(|ending| file_name.ends_with(ending));
    if file_name.starts_with('.') || is_for_others {
        Role::LeftOut
    } else if file_name.ends_with(".yaml") {
        Role::Policy
    } else {
        Role::Stray
    }
}

/// What a name in the directory leads to, links followed.
enum Kind {
    File,
    Directory,
    Other(&'static str),
}

fn kind(path: &Path) -> anyhow::Result<Kind> {
    let is_link = || fs::symlink_metadata(path).is_ok_and(|link| link.is_symlink());
    match fs::metadata(path) {
        Ok(metadata) => Ok(kind_of(metadata.file_type())),
        Err(error)
            if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::LOOP)) && is_link() =>
        {
            Ok(Kind::Other("a link that leads nowhere"))
        }
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

fn kind_of(file_type: FileType) -> Kind {
    if file_type.is_file() {
        Kind::File
    } else if file_type.is_dir() {
        Kind::Directory
    } else if file_type.is_fifo() {
        Kind::Other("a pipe")
    } else if file_type.is_socket() {
        Kind::Other("a socket")
    } else {
        Kind::Other("a device")
    }
}

fn read_file(name: String, path: &Path) -> anyhow::Result<SourceFile> {
    let reading = || format!("reading {}", path.display());
    // Another file may have taken the name by now: a pipe that is opened like this does not wait for its other end.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).context("flags of open")?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .with_context(reading)?;
    let metadata = file.metadata().with_context(reading)?;
    if let Kind::Other(what) = kind_of(metadata.file_type()) {
        return Ok(SourceFile::refused(name, Refusal::NotAFile(what)));
    }
    let most = u64::try_from(MAX_FILE_BYTES)?;
    if metadata.len() > most {
        return Ok(SourceFile::refused(name, Refusal::TooLarge));
    }
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .with_context(reading)?;
    Ok(SourceFile::from_bytes(name, &bytes))
}

/// Tells two states of a directory apart.
pub(super) fn fingerprint(files: &[SourceFile]) -> Vec<u8> {
    let mut all = Vec::new();
    for file in files {
        let refusal = format!("{:?}", file.refusal);
        for part in [&file.name, &file.text, &refusal] {
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
            .map(|file| SourceFile::new(file.name, file.text))
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
    fn a_folder_is_left_out_for_a_dot_only() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a.md/floor.yaml", "b.schema.json/cors.yaml", ".git/config.yaml"] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "version: 1").unwrap();
        }
        let bundle = read_directory(root.path()).unwrap();
        assert_eq!(names(&bundle), ["a.md/floor.yaml", "b.schema.json/cors.yaml"]);
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
        write("README.md", b"about them");
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
            let found = read_cases(root.path()).unwrap();
            assert!(cases::Suite::read(&found).is_err(), "{name}");
            fs::remove_file(root.path().join(name)).unwrap();
        }
    }
}
