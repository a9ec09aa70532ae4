//! A private PostgreSQL cluster, run from the host's binaries: reached over a unix socket only, never over a port.
//!
//! It survives everything: a crash of the server, of its starter, of the machine; a half-finished `initdb`; a pid file
//! that outlived its process. A server that outlived its starter is adopted. **Invariant:** two servers never run in
//! one data directory.

mod binaries;
mod configuration;
mod error;
mod init;
mod place;
mod postmaster;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection};

use crate::url::over_socket;
use crate::{pool, roles};
pub use binaries::{Binaries, find as find_binaries};
pub use error::ClusterError;
use place::Place;
use postmaster::Postmaster;

/// The cluster's superuser.
pub const SUPERUSER: &str = "postgres";
/// The database that Portico lives in.
pub const DATABASE: &str = "portico";

/// How long a server may take until it accepts connections; recovery after a crash is part of it.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// How long a fast stop may take before the server is stopped at once.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Who must show a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Authentication {
    /// Everybody but `portico_auditor`, which can only read.
    #[default]
    Passwords,
    /// Nobody: for tests.
    None,
}

/// What survives a crash of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Every acknowledged commit.
    #[default]
    Full,
    /// Nothing is promised, in exchange for speed: for tests.
    None,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the cluster lives. Made when missing. Where the server's user cannot reach it, the cluster lives elsewhere
    /// and a file here, `location`, says where.
    pub directory: PathBuf,
    /// Password of [`SUPERUSER`]: given to a new cluster, shown to an old one.
    pub superuser_password: String,
    /// Who must show a password.
    pub authentication: Authentication,
    /// What survives a crash of the machine.
    pub durability: Durability,
}

/// A running cluster. Dropping it tells the server to stop; [`PrivateCluster::stop`] also waits.
#[derive(Debug)]
pub struct PrivateCluster {
    options: Options,
    place: Place,
    postmaster: Postmaster,
    socket_directory: PathBuf,
    was_adopted: bool,
    keep: bool,
}

impl PrivateCluster {
    /// Starts the cluster, making it first where there is none, or adopts the server that runs in it already. Returns
    /// when it accepts connections and its database exists. Two starters of one cluster take turns.
    ///
    /// # Errors
    /// See [`ClusterError`]; nothing is left running then.
    pub async fn start(options: Options) -> Result<Self, ClusterError> {
        let directory = options.directory.clone();
        let place = tokio::task::spawn_blocking(move || Place::prepare(&directory))
            .await
            .map_err(|error| ClusterError::Init(error.to_string()))??;
        let turn = lock(&place.home).await?;
        let binaries = choose_binaries(&place.data)?;
        let is_new = !place.data.join("PG_VERSION").exists();
        if is_new {
            let (place, binaries, password) = (
                place.clone(),
                binaries.clone(),
                options.superuser_password.clone(),
            );
            tokio::task::spawn_blocking(move || init::init(&place, &binaries, &password))
                .await
                .map_err(|error| ClusterError::Init(error.to_string()))??;
        }
        let (postmaster, socket_directory, was_adopted) = match postmaster::survivor(&place.data) {
            Some((survivor, socket_directory)) => (survivor, socket_directory, true),
            None => {
                postmaster::clear_remains(&place.data).await?;
                configuration::write(&place, options.authentication, options.durability)?;
                (
                    postmaster::start(&place, &binaries)?,
                    place.socket_directory.clone(),
                    false,
                )
            }
        };
        let mut cluster = Self {
            options,
            place,
            postmaster,
            socket_directory,
            was_adopted,
            keep: false,
        };
        match cluster.prepare().await {
            Ok(()) => {}
            Err(error) => {
                // What was running before stays running.
                if cluster.was_adopted {
                    cluster.keep = true;
                } else {
                    cluster.postmaster.stop(STOP_PATIENCE).await?;
                }
                return Err(error);
            }
        }
        drop(turn);
        Ok(cluster)
    }

    async fn prepare(&mut self) -> Result<(), ClusterError> {
        let mut connection = self.connect_when_ready().await?;
        let refused = |error: sqlx::Error| ClusterError::NotStarted {
            reason: error.to_string(),
            log: self.place.log.clone(),
        };
        let exists = format!("SELECT FROM pg_database WHERE datname = '{DATABASE}'");
        let known = connection
            .fetch_optional(sqlx::raw_sql(sqlx::AssertSqlSafe(exists)))
            .await
            .map_err(refused)?;
        if known.is_none() {
            let create = format!("CREATE DATABASE {DATABASE}");
            connection
                .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(create)))
                .await
                .map_err(refused)?;
        }
        connection.close().await.map_err(refused)
    }

    /// Connects as soon as the server lets in its superuser.
    async fn connect_when_ready(&mut self) -> Result<PgConnection, ClusterError> {
        let url = over_socket(
            &self.socket_directory,
            SUPERUSER,
            Some(&self.options.superuser_password),
            "postgres",
        );
        let options: PgConnectOptions = pool::parse(&url)
            .map_err(|error| ClusterError::NotStarted {
                reason: error.to_string(),
                log: self.place.log.clone(),
            })?
            .disable_statement_logging();
        let deadline = Instant::now() + START_DEADLINE;
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            tick.tick().await;
            let error = match options.connect().await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            if matches!(error, sqlx::Error::Database(_)) && !pool::is_starting(&error) {
                return Err(ClusterError::Login {
                    data: self.place.data.clone(),
                    reason: error.to_string(),
                });
            }
            let reason = if self.postmaster.has_ended() {
                postmaster::last_words(&self.place.log)
            } else if Instant::now() >= deadline {
                format!(
                    "it accepts no connections after {} s: {error}",
                    START_DEADLINE.as_secs()
                )
            } else {
                continue;
            };
            return Err(ClusterError::NotStarted {
                reason,
                log: self.place.log.clone(),
            });
        }
    }

    /// Lets the roles of [`crate::roles`] log in: a password each, and none for the auditor. The roles must exist.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn allow_logins(&self, passwords: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut connection = pool::parse(&self.owner_url())?
            .disable_statement_logging()
            .connect()
            .await?;
        for (role, password) in passwords {
            roles::allow_login(&mut connection, role, Some(password)).await?;
        }
        roles::allow_login(&mut connection, roles::AUDITOR, None).await?;
        connection.close().await?;
        Ok(())
    }

    /// Address of the database as the superuser, password included.
    #[must_use]
    pub fn owner_url(&self) -> String {
        over_socket(
            &self.socket_directory,
            SUPERUSER,
            Some(&self.options.superuser_password),
            DATABASE,
        )
    }

    /// Address of the database as a role, with its password where it has one.
    #[must_use]
    pub fn url_for(&self, role: &str, password: Option<&str>) -> String {
        over_socket(&self.socket_directory, role, password, DATABASE)
    }

    /// The directory of the unix socket, mode 0700.
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        &self.socket_directory
    }

    /// PostgreSQL's data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.place.data
    }

    /// The server's log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.place.log
    }

    /// Process id of the server.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.postmaster.identity.pid
    }

    /// Whether the server had survived its starter and was taken over.
    #[must_use]
    pub const fn was_adopted(&self) -> bool {
        self.was_adopted
    }

    /// Waits until the server ends without having been told to by [`PrivateCluster::stop`].
    pub async fn ended(&mut self) {
        self.postmaster.ended().await;
    }

    /// What it was started with; after it [`ended`](PrivateCluster::ended), starting again recovers what was committed.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// Stops the server in order: clients are disconnected, everything is written down.
    ///
    /// # Errors
    /// When the process does not end.
    pub async fn stop(mut self) -> Result<(), ClusterError> {
        self.keep = true;
        self.postmaster.stop(STOP_PATIENCE).await
    }
}

impl Drop for PrivateCluster {
    fn drop(&mut self) {
        if !self.keep {
            self.postmaster.tell_to_stop();
        }
    }
}

/// The binaries that fit an existing cluster, or the newest for a new one.
fn choose_binaries(data: &Path) -> Result<Binaries, ClusterError> {
    let found = binaries::find()?;
    let made_by = match fs::read_to_string(data.join("PG_VERSION")) {
        Ok(text) => Some(text.trim().to_owned()),
        Err(_) => None,
    };
    let majors = found.iter().map(|binaries| binaries.major).collect();
    let chosen = match &made_by {
        Some(version) => found
            .into_iter()
            .find(|binaries| binaries.major.to_string() == *version),
        None => found.into_iter().next(),
    };
    chosen.ok_or_else(|| ClusterError::OtherVersion {
        data: data.to_owned(),
        made_by: made_by.unwrap_or_default(),
        found: majors,
    })
}

/// Waits for this starter's turn. The lock is the file's, so it ends with the process that holds it.
async fn lock(home: &Path) -> Result<fs::File, ClusterError> {
    let path = home.join("start.lock");
    let locked = tokio::task::spawn_blocking(move || {
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        file.and_then(|file| file.lock().map(|()| file))
            .map_err(ClusterError::file(&path))
    });
    locked
        .await
        .map_err(|error| ClusterError::Init(error.to_string()))?
}
