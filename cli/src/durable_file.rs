//! Files that are whole or not there: written under another name, flushed, renamed.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Writes `path` with this mode. A reader sees the old content or the new one.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    replace(path, content, mode).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a file that holds `expected`, and keeps its mode and owner. `false` when it holds something else by now: then
/// nothing is written.
pub(crate) fn rewrite(path: &Path, expected: &[u8], content: &[u8]) -> anyhow::Result<bool> {
    exchange(path, expected, content).with_context(|| format!("cannot write {}", path.display()))
}

/// The same for content that is made piece by piece; when that fails, nothing is left.
pub(crate) fn write_with<T>(
    path: &Path,
    mode: u32,
    make: impl FnOnce(&mut File) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let cannot = || format!("cannot write {}", path.display());
    let draft = draft_of(path);
    let mut file = create(&draft, mode).with_context(cannot)?;
    let made = make(&mut file).and_then(|made| {
        file.sync_all().with_context(cannot)?;
        rename(&draft, path).with_context(cannot)?;
        Ok(made)
    });
    if made.is_err() {
        drop(fs::remove_file(&draft));
    }
    made
}

fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let draft = draft_of(path);
    let mut file = create(&draft, mode)?;
    file.write_all(content)?;
    file.sync_all()?;
    rename(&draft, path)
}

fn exchange(path: &Path, expected: &[u8], content: &[u8]) -> io::Result<bool> {
    // A dot file: whoever watches the directory for policies takes no notice.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.new"));
    let meanwhile = draft_like(path, &draft, content).and_then(|()| fs::read(path));
    if meanwhile.as_ref().is_ok_and(|meanwhile| meanwhile == expected) {
        rename(&draft, path)?;
        return Ok(true);
    }
    drop(fs::remove_file(&draft));
    meanwhile.map(|_| false)
}

/// Writes a draft that whoever may read `path` may read too.
fn draft_like(path: &Path, draft: &Path, content: &[u8]) -> io::Result<()> {
    let old = fs::metadata(path)?;
    let mut file = create(draft, 0o600)?;
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        fchown(&file, Some(old.uid()), Some(old.gid())).map_err(|error| {
            let (user, group) = (old.uid(), old.gid());
            let lost = format!(
                "its owner (user {user}, group {group}) cannot be kept, and others might no longer read it: {error}; run \
                 this as that user, or as root"
            );
            io::Error::new(error.kind(), lost)
        })?;
    }
    file.set_permissions(old.permissions())?;
    file.write_all(content)?;
    file.sync_all()
}

fn create(draft: &Path, mode: u32) -> io::Result<File> {
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(mode).open(draft)
}

fn rename(draft: &Path, path: &Path) -> io::Result<()> {
    fs::rename(draft, path)?;
    match path.parent() {
        Some(here) if here.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_rewrite_keeps_the_mode_and_leaves_nothing_beside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("floor.yaml");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o646)).unwrap();
        assert!(rewrite(&path, b"old", b"new").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o646);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_someone_else_wrote_meanwhile_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("floor.yaml");
        fs::write(&path, "edited").unwrap();
        assert!(!rewrite(&path, b"old", b"new").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "edited");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
