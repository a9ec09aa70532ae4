//! Services that outlived an `up` that was killed. They are stopped before new ones start; the database is adopted.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use database::process::ProcessIdentity;
use rustix::process::Signal;

use super::SERVICES;
use super::logs::Terminal;
use crate::data_directory::DataDirectory;
use crate::durable_file;

/// How long a survivor may take to finish its requests.
const PATIENCE: Duration = Duration::from_secs(10);

/// Notes in `run/<service>.pid` which process a service is: its pid and its start time, for the next start.
pub(super) fn note(
    directory: &DataDirectory,
    service: &str,
    identity: ProcessIdentity,
) -> anyhow::Result<()> {
    let text = format!("{} {}\n", identity.pid, identity.started);
    durable_file::write(&file(directory, service), text.as_bytes(), 0o600)
}

/// Forgets a service that has ended.
pub(super) fn forget(directory: &DataDirectory, service: &str) {
    // A note that stays behind names a process that is gone, which the next start sees.
    drop(fs::remove_file(file(directory, service)));
}

/// Stops what an earlier `up` left running, the gateway first.
pub(super) async fn stop(directory: &DataDirectory, terminal: &Terminal) {
    for service in SERVICES.iter().rev() {
        let Some(identity) = noted(directory, service) else {
            continue;
        };
        if identity.signal(Signal::TERM) {
            terminal.say(&format!(
                "{service} (process {}) outlived an earlier `portico up`: stopping it",
                identity.pid
            ));
            if !ended(identity, PATIENCE).await && identity.signal(Signal::KILL) {
                ended(identity, PATIENCE).await;
            }
        }
        forget(directory, service);
    }
}

fn file(directory: &DataDirectory, service: &str) -> PathBuf {
    directory.run().join(format!("{service}.pid"))
}

fn noted(directory: &DataDirectory, service: &str) -> Option<ProcessIdentity> {
    let text = fs::read_to_string(file(directory, service)).ok()?;
    let (pid, started) = text.trim().split_once(' ')?;
    Some(ProcessIdentity {
        pid: pid.parse().ok()?,
        started: started.parse().ok()?,
    })
}

async fn ended(identity: ProcessIdentity, at_most: Duration) -> bool {
    let deadline = Instant::now() + at_most;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while identity.is_running() {
        if Instant::now() >= deadline {
            return false;
        }
        tick.tick().await;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal() -> Terminal {
        Terminal::open("none".parse().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_survivor_is_stopped_and_a_stranger_with_its_pid_is_not() {
        let root = tempfile::tempdir().unwrap();
        let directory = DataDirectory::make(&root.path().join("data")).unwrap();
        let mut survivor = tokio::process::Command::new("sleep")
            .arg("600")
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid = i32::try_from(survivor.id().unwrap()).unwrap();
        let identity = ProcessIdentity::of(pid).unwrap();

        note(
            &directory,
            "gateway",
            ProcessIdentity {
                started: identity.started + 1,
                ..identity
            },
        )
        .unwrap();
        stop(&directory, &terminal()).await;
        assert!(
            identity.is_running(),
            "a process that started at another time is not ours"
        );

        note(&directory, "gateway", identity).unwrap();
        stop(&directory, &terminal()).await;
        assert!(!identity.is_running());
        survivor.wait().await.unwrap();
    }
}
