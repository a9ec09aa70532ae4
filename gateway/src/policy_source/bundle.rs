//! A policy bundle on disk: the directory that people edit.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, FileType, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest};
use policy::{MAX_BUNDLE_BYTES, Refusal, SourceFile, cases};
use rustix::{fs::OFlags, io::Errno};

/// A directory with more than this is a mistake, such as a wrong directory. Everything in it counts.
const MAX_ENTRIES: usize = 1_000;
const MAX_DEPTH: usize = 8;

const LEADS_OUT: &str = "a link that leads out of the policy folder";
const READ_ALREADY: &str = "a link to a folder that is read already, or into itself";

/// Everything below the directory that is or looks like a policy, by relative name, sorted. Names with a leading dot
/// and files `*.md` and `*.schema.json` are left out, and so is `tests/`: cases say what a policy should do and must
/// not be able to stop it. What cannot be read as a policy is there with its [`Refusal`], so that the compiler tells of
/// it together with all else; its content is not read.
///
/// # Errors
/// When the directory itself cannot be read, for want of permission for example.
pub fn read_directory(root: &Path) -> anyhow::Result<Vec<SourceFile>> {
    read_below(root, "")
}

/// The same of the directory's `tests/`, by names relative to the directory; none when there is no such folder.
///
/// # Errors
/// As of [`read_directory`].
pub fn read_cases(root: &Path) -> anyhow::Result<Vec<SourceFile>> {
    if root.join(cases::FOLDER).is_dir() {
        read_below(root, cases::FOLDER)
    } else {
        Ok(Vec::new())
    }
}

fn read_below(root: &Path, start: &str) -> anyhow::Result<Vec<SourceFile>> {
    let reading = || format!("reading {}", root.display());
    let root = fs::canonicalize(root).with_context(reading)?;
    // What is wrong below is a finding; a directory that is not there at all is not.
    fs::read_dir(&root).with_context(reading)?;
    let mut walk = Walk {
        folders: vec![Folder {
            path: root.join(start),
            name: start.to_owned(),
            depth: 0,
        }],
        root,
        linked: BTreeMap::new(),
        walked: HashSet::new(),
        files: Vec::new(),
        entries: 0,
        bytes: 0,
    };
    while let Some(folder) = walk.next() {
        if let Err(error) = walk.folder(&folder) {
            walk.refuse(folder.name, unreadable(&error));
        }
        let refusal = if walk.entries > MAX_ENTRIES {
            Refusal::TooMany(MAX_ENTRIES)
        } else if walk.bytes > MAX_BUNDLE_BYTES {
            Refusal::TooManyBytes
        } else {
            continue;
        };
        return Ok(vec![SourceFile::refused("", refusal)]);
    }
    walk.files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(walk.files)
}

/// A folder and what it is called below the policy directory.
struct Folder {
    path: PathBuf,
    name: String,
    depth: usize,
}

/// One reading of the directory.
struct Walk {
    /// Without links in it.
    root: PathBuf,
    folders: Vec<Folder>,
    /// Folders behind links come last, by name, so that each is read under the name it has without the link.
    linked: BTreeMap<String, Folder>,
    walked: HashSet<PathBuf>,
    files: Vec<SourceFile>,
    entries: usize,
    bytes: usize,
}

impl Walk {
    fn next(&mut self) -> Option<Folder> {
        self.folders
            .pop()
            .or_else(|| self.linked.pop_first().map(|(_, folder)| folder))
    }

    fn refuse(&mut self, name: String, refusal: Refusal) {
        self.files.push(SourceFile::refused(name, refusal));
    }

    fn folder(&mut self, folder: &Folder) -> io::Result<()> {
        let real = fs::canonicalize(&folder.path)?;
        if !real.starts_with(&self.root) {
            self.refuse(folder.name.clone(), Refusal::NotAFile(LEADS_OUT));
            return Ok(());
        }
        if !self.walked.insert(real) {
            self.refuse(folder.name.clone(), Refusal::NotAFile(READ_ALREADY));
            return Ok(());
        }
        for entry in fs::read_dir(&folder.path)? {
            let entry = entry?;
            self.entries = self.entries.saturating_add(1);
            if self.entries > MAX_ENTRIES || self.bytes > MAX_BUNDLE_BYTES {
                break;
            }
            let file_name = entry.file_name().to_string_lossy().into_owned();
            let name = match folder.name.as_str() {
                "" => file_name.clone(),
                above => format!("{above}/{file_name}"),
            };
            let depth = folder.depth.saturating_add(1);
            if let Err(error) = self.entry(&entry.path(), &file_name, name.clone(), depth) {
                self.refuse(name, unreadable(&error));
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, file_name: &str, name: String, depth: usize) -> io::Result<()> {
        let role = role(file_name);
        let is_left_out = file_name.starts_with('.') || (role == Role::LeftOut && !path.is_dir());
        if is_left_out || (name == cases::FOLDER && path.is_dir()) {
            return Ok(());
        }
        let is_link = fs::symlink_metadata(path)?.is_symlink();
        match kind(path, is_link, &self.root)? {
            Kind::Directory if role == Role::Policy => self.refuse(name, Refusal::NotAFile("a folder")),
            Kind::Directory if depth > MAX_DEPTH => self.refuse(name, Refusal::TooDeep),
            Kind::Directory => {
                let path = path.to_owned();
                let folder = Folder {
                    path,
                    name: name.clone(),
                    depth,
                };
                if is_link {
                    self.linked.insert(name, folder);
                } else {
                    self.folders.push(folder);
                }
            }
            Kind::Other(what) => self.refuse(name, Refusal::NotAFile(what)),
            Kind::File(_) if role == Role::Stray => self.refuse(name, Refusal::WrongName),
            Kind::File(real) => {
                let file = read_file(name, &real)?;
                self.bytes = self.bytes.saturating_add(file.text.len());
                self.files.push(file);
            }
        }
        Ok(())
    }
}

fn unreadable(error: &io::Error) -> Refusal {
    Refusal::Unreadable(error.kind().to_string())
}

/// What a file in the policy directory is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A policy, or an OpenAPI document that one names.
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
    } else if file_name.ends_with(".yaml") || SourceFile::is_api_document(file_name) {
        Role::Policy
    } else {
        Role::Stray
    }
}

/// What a name in the directory leads to, links followed.
enum Kind {
    /// With its path, in which the last part is no link.
    File(PathBuf),
    Directory,
    Other(&'static str),
}

/// A link may lead to another place in the directory, as Kubernetes does it, and never out of it: findings quote what
/// they are about, and whoever can propose a policy must not be able to read the files of whoever checks it.
fn kind(path: &Path, is_link: bool, root: &Path) -> io::Result<Kind> {
    let real = match fs::canonicalize(path) {
        Ok(real) if is_link && !real.starts_with(root) => return Ok(Kind::Other(LEADS_OUT)),
        Ok(real) => real,
        Err(error) if is_link && matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::LOOP)) => {
            return Ok(Kind::Other("a link that leads nowhere"));
        }
        Err(error) => return Err(error),
    };
    let file_type = fs::symlink_metadata(&real)?.file_type();
    Ok(if file_type.is_dir() {
        Kind::Directory
    } else if let Some(other) = other(file_type) {
        Kind::Other(other)
    } else {
        Kind::File(real)
    })
}

/// What is neither a file nor a folder.
fn other(file_type: FileType) -> Option<&'static str> {
    if file_type.is_file() {
        None
    } else if file_type.is_fifo() {
        Some("a pipe")
    } else if file_type.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

fn read_file(name: String, path: &Path) -> io::Result<SourceFile> {
    // Another file may have taken the name by now: a pipe that is opened like this does not wait for its other end, and
    // a link is not followed.
    let flags = OFlags::NONBLOCK.union(OFlags::NOFOLLOW).bits();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags).map_err(io::Error::other)?)
        .open(path)?;
    let metadata = file.metadata()?;
    if let Some(what) = other(metadata.file_type()) {
        return Ok(SourceFile::refused(name, Refusal::NotAFile(what)));
    }
    let most = u64::try_from(SourceFile::most_bytes(&name)).unwrap_or(u64::MAX);
    if metadata.len() > most {
        return Ok(SourceFile::refused(name, Refusal::TooLarge));
    }
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
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

#[cfg(test)]
mod tests {
    use rustix::fs::symlink;

    use super::*;

    fn refusals(files: &[SourceFile]) -> Vec<(&str, &Refusal)> {
        files
            .iter()
            .filter_map(|file| Some((file.name.as_str(), file.refusal.as_ref()?)))
            .collect()
    }

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

    #[test]
    fn a_link_out_of_the_folder_is_refused_and_what_it_leads_to_never_read() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret.yaml"), "password: hunter2").unwrap();
        let root = tempfile::tempdir().unwrap();
        let link = |to: &Path, name: &str| symlink(to, root.path().join(name)).unwrap();
        link(&outside.path().join("secret.yaml"), "file.yaml");
        link(outside.path(), "folder");
        link(
            Path::new("../../../../../../../proc/self/environ"),
            "environ.yaml",
        );
        link(Path::new("file.yaml"), "twice.yaml");
        link(outside.path(), "tests");
        fs::create_dir(root.path().join("routes")).unwrap();
        link(&outside.path().join("secret.yaml"), "routes/inner.yaml");

        let files = read_directory(root.path()).unwrap();
        let out = Refusal::NotAFile(LEADS_OUT);
        let expected = [
            "environ.yaml",
            "file.yaml",
            "folder",
            "routes/inner.yaml",
            "twice.yaml",
        ]
        .map(|name| (name, &out));
        assert_eq!(refusals(&files), expected);
        assert!(files.iter().all(|file| file.text.is_empty()), "{files:?}");
        let cases = read_cases(root.path()).unwrap();
        assert_eq!(refusals(&cases), [("tests", &out)]);
    }

    #[test]
    fn a_link_inside_the_folder_is_followed_and_the_folder_may_be_one() {
        let place = tempfile::tempdir().unwrap();
        // As Kubernetes mounts a volume.
        let root = place.path().join("mounted");
        fs::create_dir_all(root.join("..2026/routes")).unwrap();
        fs::write(root.join("..2026/floor.yaml"), "version: 1").unwrap();
        fs::write(root.join("..2026/routes/a.yaml"), "version: 1").unwrap();
        symlink("..2026", root.join("..data")).unwrap();
        symlink("..data/floor.yaml", root.join("floor.yaml")).unwrap();
        symlink("..data/routes", root.join("routes")).unwrap();
        symlink("mounted", place.path().join("policies")).unwrap();
        for folder in [root, place.path().join("policies")] {
            let files = read_directory(&folder).unwrap();
            assert_eq!(names(&files), ["floor.yaml", "routes/a.yaml"]);
            assert!(refusals(&files).is_empty(), "{files:?}");
        }
    }

    #[test]
    fn a_link_into_itself_is_one_finding() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("routes")).unwrap();
        fs::write(root.path().join("routes/a.yaml"), "version: 1").unwrap();
        for (to, name) in [(".", "routes/loop"), ("..", "routes/up"), ("routes", "again")] {
            symlink(to, root.path().join(name)).unwrap();
        }
        let files = read_directory(root.path()).unwrap();
        let again = Refusal::NotAFile(READ_ALREADY);
        assert_eq!(
            names(&files),
            ["again", "routes/a.yaml", "routes/loop", "routes/up"]
        );
        let expected = ["again", "routes/loop", "routes/up"].map(|name| (name, &again));
        assert_eq!(refusals(&files), expected);
    }
}
