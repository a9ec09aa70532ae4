//! The server process: found when it survived, started when not, stopped without losing anything.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::process::{Child, Command};

use super::binaries::Binaries;
use super::error::ClusterError;
use super::place::Place;
use crate::process::{ProcessIdentity, working_in};

/// How often a condition is looked at.
const TICK: Duration = Duration::from_millis(20);
/// How long orphans of a killed server may take to notice that it is gone.
const ORPHANS: Duration = Duration::from_secs(10);
/// The log starts afresh, keeping one older file, when it is larger than this at a start.
const LOG_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// A running server.
#[derive(Debug)]
pub(super) struct Postmaster {
    pub(super) identity: ProcessIdentity,
    /// `None`: it was started by a process that is gone.
    child: Option<Child>,
}

/// A server that runs in this data directory already, and the socket directory it uses.
pub(super) fn survivor(data: &Path) -> Option<(Postmaster, PathBuf)> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let mut lines = text.lines();
    let pid = lines.next()?.trim().parse().ok()?;
    // Line 5 is the first socket directory (PostgreSQL, src/include/utils/pidfile.h).
    let socket_directory = PathBuf::from(lines.nth(3)?.trim());
    let identity = ProcessIdentity::of(pid)?;
    // By now the pid may be another process: the server is the one that works in the data directory.
    let at = data.canonicalize().ok()?;
    working_in(&at).contains(&pid).then_some((
        Postmaster {
            identity,
            child: None,
        },
        socket_directory,
    ))
}

/// Clears what a killed server left: its children, and a pid file that may by now name a stranger.
pub(super) async fn clear_remains(data: &Path) -> Result<(), ClusterError> {
    let pid_file = data.join("postmaster.pid");
    let at = data.canonicalize().map_err(ClusterError::file(data))?;
    for pid in working_in(&at) {
        // They end by themselves when they notice; those in the middle of a statement are told.
        if let Some(orphan) = ProcessIdentity::of(pid) {
            let _already_gone = !orphan.signal(Signal::QUIT);
        }
    }
    if !holds_within(ORPHANS, || working_in(&at).is_empty()).await {
        return Err(ClusterError::NotStarted {
            reason: "processes of a killed server still work in its data directory".to_owned(),
            log: data.to_owned(),
        });
    }
    match fs::remove_file(&pid_file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ClusterError::file(pid_file)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Starts the server in a process group of its own, so that Ctrl-C in a terminal does not reach it.
pub(super) fn start(place: &Place, binaries: &Binaries) -> Result<Postmaster, ClusterError> {
    let log = open_log(&place.log).map_err(ClusterError::file(&place.log))?;
    let errors = log.try_clone().map_err(ClusterError::file(&place.log))?;
    let program = binaries.program("postgres");
    let mut command = Command::from(place.command(&program));
    command
        .arg("-D")
        .arg(&place.data)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0);
    let child = command.spawn().map_err(ClusterError::file(&program))?;
    let identity = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(ProcessIdentity::of);
    let identity = identity.ok_or_else(|| ClusterError::NotStarted {
        reason: last_words(&place.log),
        log: place.log.clone(),
    })?;
    Ok(Postmaster {
        identity,
        child: Some(child),
    })
}

fn open_log(path: &Path) -> std::io::Result<fs::File> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.len() > LOG_LIMIT_BYTES) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(no_follow)
        .open(path)
}

/// The server's last complaint, without the time and the pid before it.
pub(super) fn last_words(log: &Path) -> String {
    let text = fs::read(log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let complaint = text.lines().rev().take(50).find_map(|line| {
        let (_, words) = line.split_once("FATAL:").or_else(|| line.split_once("PANIC:"))?;
        Some(words.trim().to_owned())
    });
    complaint
        .or_else(|| text.lines().last().map(str::to_owned))
        .unwrap_or_else(|| "it said nothing".to_owned())
}

impl Postmaster {
    /// Whether the process has ended. Collects it when it was ours.
    pub(super) fn has_ended(&mut self) -> bool {
        match &mut self.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => !self.identity.is_running(),
        }
    }

    /// Waits for the process to end by itself or by another's hand.
    pub(super) async fn ended(&mut self) {
        if let Some(child) = &mut self.child {
            // An error means that there is nothing to wait for any more.
            drop(child.wait().await);
            return;
        }
        let identity = self.identity;
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        while identity.is_running() {
            tick.tick().await;
        }
    }

    /// Stops the server: clients are disconnected, everything is written down (fast mode); when that takes longer than
    /// `patience`, at once (immediate mode: the next start recovers).
    pub(super) async fn stop(&mut self, patience: Duration) -> Result<(), ClusterError> {
        for (signal, patience) in [(Signal::INT, patience), (Signal::QUIT, Duration::from_secs(10))] {
            if !self.identity.signal(signal) || tokio::time::timeout(patience, self.ended()).await.is_ok() {
                self.ended().await;
                return Ok(());
            }
        }
        Err(ClusterError::NotStopped(self.identity.pid))
    }

    /// Tells the server to stop and does not wait.
    pub(super) fn tell_to_stop(&mut self) {
        if !self.has_ended() {
            let _already_gone = !self.identity.signal(Signal::INT);
        }
    }
}

/// Looks again and again until `condition` holds or the time is over.
async fn holds_within(at_most: Duration, condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + at_most;
    let mut tick = tokio::time::interval(TICK);
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        tick.tick().await;
    }
}
