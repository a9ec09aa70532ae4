//! Runs a command with a PostgreSQL of its own: `with-postgres -- cargo nextest run -p core-api`.
//!
//! The command finds `TEST_DATABASE_URL` (superuser; tests clone the migrated template) and `DATABASE_URL` (a migrated
//! database, for `cargo sqlx prepare`). The cluster is fast, not durable, and gone when the command ends.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::Context as _;
use database::cluster::{Authentication, Durability, Options, PrivateCluster, SUPERUSER};
use database::{process::ProcessIdentity, roles, url::over_socket};
use rustix::process::Signal;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// Names the process that a test cluster belongs to, so that the next one clears up after a `kill -9`.
const OWNER: &str = "owner";
const PREFIX: &str = "portico-test-";

#[expect(
    clippy::print_stderr,
    reason = "a command line tool speaks on its standard error"
)]
fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--") {
        arguments.remove(0);
    }
    if arguments.is_empty() {
        eprintln!("usage: with-postgres -- COMMAND [ARGUMENT…]");
        return ExitCode::from(2);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime
        .context("cannot start")
        .and_then(|runtime| runtime.block_on(run(&arguments)));
    match outcome {
        Ok(status) => {
            let code = status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
            ExitCode::from(u8::try_from(code).unwrap_or(1))
        }
        Err(error) => {
            eprintln!("with-postgres: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[std::ffi::OsString]) -> anyhow::Result<ExitStatus> {
    // From here on a signal is ours to handle, so that the cluster never stays behind.
    let mut signals = Signals::listen()?;
    let parent = std::env::temp_dir();
    clear_up_after_others(&parent).await;
    let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&parent)?;
    // Started by root, the server is another user who must pass through here.
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711))?;
    let me = i32::try_from(std::process::id())
        .ok()
        .and_then(ProcessIdentity::of);
    let me = me.context("cannot tell who this process is")?;
    std::fs::write(
        directory.path().join(OWNER),
        format!("{} {}\n", me.pid, me.started),
    )?;

    let cluster = PrivateCluster::start(options(directory.path())).await?;
    let outcome = prepare_and_run(&cluster, arguments, &mut signals).await;
    cluster.stop().await?;
    outcome
}

fn options(directory: &Path) -> Options {
    Options {
        directory: directory.join("postgres"),
        superuser_password: "unused".to_owned(),
        authentication: Authentication::None,
        durability: Durability::None,
    }
}

async fn prepare_and_run(
    cluster: &PrivateCluster,
    arguments: &[std::ffi::OsString],
    signals: &mut Signals,
) -> anyhow::Result<ExitStatus> {
    database::migrate(&cluster.owner_url()).await?;
    let server_url = over_socket(cluster.socket_directory(), SUPERUSER, None, "postgres");
    let server: PgConnectOptions = server_url.parse()?;
    let mut connection = server.connect().await?;
    for role in [roles::CORE, roles::CONTROL, roles::AUDITOR] {
        roles::allow_login(&mut connection, role, None).await?;
    }
    let template = format!(
        "CREATE DATABASE {} TEMPLATE {}",
        test_support::TEMPLATE,
        database::cluster::DATABASE
    );
    connection.execute(sqlx::raw_sql(AssertSqlSafe(template))).await?;
    connection.close().await?;

    let (program, rest) = arguments.split_first().context("no command")?;
    let database_url = over_socket(
        cluster.socket_directory(),
        SUPERUSER,
        None,
        database::cluster::DATABASE,
    );
    let mut child = Command::new(program)
        .args(rest)
        .env("TEST_DATABASE_URL", server_url)
        .env("DATABASE_URL", database_url)
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    wait(&mut child, signals).await
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Waits for the command and hands signals on to it.
async fn wait(child: &mut Child, signals: &mut Signals) -> anyhow::Result<ExitStatus> {
    loop {
        tokio::select! {
            status = child.wait() => return Ok(status?),
            _ = signals.terminate.recv() => send(child, Signal::TERM),
            _ = signals.hangup.recv() => send(child, Signal::HUP),
            // In a terminal the command has had Ctrl-C itself; sent to this process alone, it has not.
            _ = signals.interrupt.recv() => {
                if let Ok(status) = tokio::time::timeout(Duration::from_secs(3), child.wait()).await {
                    return Ok(status?);
                }
                send(child, Signal::TERM);
            }
        }
    }
}

fn send(child: &Child, signal: Signal) {
    let identity = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(ProcessIdentity::of);
    let _already_gone = identity.is_some_and(|identity| !identity.signal(signal));
}

/// Stops and removes the clusters of runs that were killed.
async fn clear_up_after_others(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let directory = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) || !is_abandoned(&directory) {
            continue;
        }
        // Another user's cannot be cleared by us, and is not ours to clear.
        if directory
            .join("postgres")
            .join("data")
            .join("postmaster.pid")
            .exists()
            && let Ok(cluster) = PrivateCluster::start(options(&directory)).await
        {
            drop(cluster.stop().await);
        }
        drop(std::fs::remove_dir_all(&directory));
    }
}

fn is_abandoned(directory: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(directory.join(OWNER)) else {
        return false;
    };
    let mut words = text.split_whitespace();
    let (Some(Ok(pid)), Some(Ok(started))) = (words.next().map(str::parse), words.next().map(str::parse))
    else {
        return false;
    };
    !ProcessIdentity { pid, started }.is_running()
}
