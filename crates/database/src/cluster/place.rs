//! Where a private cluster lives and as which user it runs.
//!
//! Started by root, the server runs as another user, who must be able to reach its files. Where that user cannot (a
//! data directory below a home of mode 0700), the cluster lives under `/var/lib/portico/<id>` and the file `location`
//! in the place that was asked for says so.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::ClusterError;
use crate::socket_directory;

/// The longest name in the socket directory.
const SOCKET: &str = ".s.PGSQL.5432";

/// Where clusters live that cannot live in their data directory.
const RELOCATED: &str = "/var/lib/portico";

/// The user that the server runs as, when it is not the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The directories of one cluster.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Holds everything below; belongs to the server's user, mode 0700.
    pub(super) home: PathBuf,
    /// PostgreSQL's data directory.
    pub(super) data: PathBuf,
    /// Where the unix socket is.
    pub(super) socket_directory: PathBuf,
    /// The server's log.
    pub(super) log: PathBuf,
    /// `None`: the server runs as the current user.
    pub(super) account: Option<Account>,
}

impl Place {
    /// Decides where the cluster asked for at `directory` lives, and makes what is missing.
    pub(super) fn prepare(directory: &Path) -> Result<Self, ClusterError> {
        make_directory(directory, 0o700)?;
        let directory = directory.canonicalize().map_err(ClusterError::file(directory))?;
        let is_root = rustix::process::geteuid().is_root();
        let (home, account) = if is_root {
            home_for_root(&directory)?
        } else {
            (directory.clone(), None)
        };
        make_directory(&home, 0o700)?;
        give(&home, account)?;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).map_err(ClusterError::file(&home))?;
        let socket_directory =
            socket_directory::choose(&home.join("socket"), SOCKET, account.map(|account| account.uid))?;
        give(&socket_directory, account)?;
        Ok(Self {
            data: home.join("data"),
            log: home.join("server.log"),
            home,
            socket_directory,
            account,
        })
    }

    /// Runs a program as the server's user. The working directory is one that this user can be in.
    pub(super) fn command(&self, program: &Path) -> Command {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(program);
        command.current_dir(&self.home).env_remove("PGDATA");
        if let Some(account) = self.account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }

    /// Writes a small file that belongs to the server's user: first under another name, so that it is never half there.
    pub(super) fn write(&self, path: &Path, content: &str, mode: u32) -> Result<(), ClusterError> {
        let temporary = path.with_extension("portico-new");
        let attempt = || {
            match fs::remove_file(&temporary) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            // O_EXCL: root does not follow a link that somebody put here.
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&temporary)?;
            file.write_all(content.as_bytes())?;
            file.sync_all()?;
            if let Some(account) = self.account {
                std::os::unix::fs::lchown(&temporary, Some(account.uid), Some(account.gid))?;
            }
            fs::rename(&temporary, path)
        };
        attempt().map_err(ClusterError::file(path))
    }
}

fn home_for_root(directory: &Path) -> Result<(PathBuf, Option<Account>), ClusterError> {
    let note = directory.join("location");
    if let Ok(text) = fs::read_to_string(&note) {
        let home = PathBuf::from(text.trim());
        let account = owner_of(&home.join("data")).map_or_else(postgres_account, Ok)?;
        return Ok((home, Some(account)));
    }
    // A cluster that another user began stays that user's.
    if let Some(account) = owner_of(&directory.join("data")) {
        return Ok((directory.to_owned(), Some(account)));
    }
    let account = postgres_account()?;
    if is_reachable(directory, account) {
        return Ok((directory.to_owned(), Some(account)));
    }
    let home = Path::new(RELOCATED).join(format!("{:016x}", random()?));
    let parent = Path::new(RELOCATED);
    make_directory(parent, 0o755)?;
    let text = format!("{}\n", home.display());
    let writable = Place {
        home: directory.to_owned(),
        data: PathBuf::new(),
        socket_directory: PathBuf::new(),
        log: PathBuf::new(),
        account: None,
    };
    writable.write(&note, &text, 0o600)?;
    Ok((home, Some(account)))
}

/// The owner of a data directory that exists, unless that is root.
fn owner_of(data: &Path) -> Option<Account> {
    let metadata = fs::metadata(data).ok()?;
    (metadata.uid() != 0).then(|| Account {
        uid: metadata.uid(),
        gid: metadata.gid(),
    })
}

fn postgres_account() -> Result<Account, ClusterError> {
    let number = |flag: &str| -> Option<u32> {
        let output = Command::new("id").args([flag, "postgres"]).output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    };
    match (number("-u"), number("-g")) {
        (Some(uid), Some(gid)) if uid != 0 => Ok(Account { uid, gid }),
        _ => Err(ClusterError::NoAccount),
    }
}

/// Whether the account may pass through every directory above `directory`.
fn is_reachable(directory: &Path, account: Account) -> bool {
    directory.ancestors().skip(1).all(|ancestor| {
        fs::metadata(ancestor).is_ok_and(|metadata| {
            let mode = metadata.mode();
            if metadata.uid() == account.uid {
                mode & 0o100 != 0
            } else if metadata.gid() == account.gid {
                mode & 0o010 != 0
            } else {
                mode & 0o001 != 0
            }
        })
    })
}

fn make_directory(path: &Path, mode: u32) -> Result<(), ClusterError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(ClusterError::file(path))
}

fn give(path: &Path, account: Option<Account>) -> Result<(), ClusterError> {
    match account {
        Some(account) => std::os::unix::fs::lchown(path, Some(account.uid), Some(account.gid))
            .map_err(ClusterError::file(path)),
        None => Ok(()),
    }
}

fn random() -> Result<u64, ClusterError> {
    let mut bytes = [0; 8];
    let source = Path::new("/dev/urandom");
    fs::File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(ClusterError::file(source))?;
    Ok(u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_below_a_private_home_is_out_of_reach() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let home = root.path().join("home");
        let cluster = home.join("cluster");
        fs::create_dir_all(&cluster).unwrap();
        let stranger = Account {
            uid: 64_123,
            gid: 64_123,
        };

        assert!(is_reachable(&cluster, stranger));
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!is_reachable(&cluster, stranger));
    }
}
