//! What can keep a private cluster from starting, each in a line that says what to do.

use std::path::PathBuf;

/// Why a private cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No PostgreSQL server binaries on this host.
    #[error(
        "PostgreSQL is not installed: looked in PG_BIN, /usr/lib/postgresql/*/bin, /usr/pgsql-*/bin, Homebrew and PATH; \
         run scripts/install-dependencies"
    )]
    NoBinaries,
    /// The data directory was made by another major version.
    #[error(
        "the database in {data} was made by PostgreSQL {made_by}, but this host has {}; install PostgreSQL {made_by}, \
         or move the data with pg_upgrade, or start with another --data-dir",
        .found.iter().map(|major| format!("PostgreSQL {major}")).collect::<Vec<_>>().join(" and ")
    )]
    OtherVersion {
        /// The cluster's data directory.
        data: PathBuf,
        /// Its major version.
        made_by: String,
        /// The major versions on this host.
        found: Vec<u32>,
    },
    /// PostgreSQL refuses to run as root, and there is nobody else.
    #[error(
        "PostgreSQL does not run as root and there is no user `postgres`: create it, or start Portico as another user"
    )]
    NoAccount,
    /// A file or directory that cannot be made, read or changed.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A directory for the socket exists and is another user's.
    #[error("{0} belongs to another user, so the database's socket cannot be put there")]
    ForeignSocketDirectory(PathBuf),
    /// `initdb` failed.
    #[error("initdb failed: {0}")]
    Init(String),
    /// The server ended while it started, or did not accept connections in time.
    #[error("PostgreSQL did not start: {reason} (log: {log})")]
    NotStarted {
        /// The server's own words.
        reason: String,
        /// Where it wrote them.
        log: PathBuf,
    },
    /// The server runs, but refuses its superuser.
    #[error(
        "PostgreSQL refuses the superuser of the cluster in {data}: is secrets/ of this data directory its own? ({reason})"
    )]
    Login {
        /// The cluster's data directory.
        data: PathBuf,
        /// The server's own words.
        reason: String,
    },
    /// The server did not stop.
    #[error("PostgreSQL (process {0}) did not stop")]
    NotStopped(i32),
}

impl ClusterError {
    /// Turns an I/O error into one that names the file.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        |source| Self::File { path, source }
    }
}
