//! Who a process is: a pid alone may by now belong to another, a pid and its start time may not.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};

/// A process as it was when it was noted down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// Process id.
    pub pid: i32,
    /// When it started: clock ticks since boot on Linux (`/proc/<pid>/stat`, field 22), elsewhere a digest of the time
    /// that `ps` tells. Only good for comparing.
    pub started: u64,
}

impl ProcessIdentity {
    /// Notes down a running process; `None` when there is none with this pid, or it only waits to be collected.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        started(pid).map(|started| Self { pid, started })
    }

    /// Whether this very process still runs.
    #[must_use]
    pub fn is_running(self) -> bool {
        started(self.pid) == Some(self.started)
    }

    /// Sends a signal, if this very process still runs. Returns whether it was sent.
    #[must_use]
    pub fn signal(self, signal: Signal) -> bool {
        self.is_running()
            && Pid::from_raw(self.pid).is_some_and(|pid| rustix::process::kill_process(pid, signal).is_ok())
    }
}

#[cfg(target_os = "linux")]
fn started(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command, in parentheses, may itself hold spaces and parentheses.
    let (_, after_command) = stat.rsplit_once(')')?;
    let mut fields = after_command.split_whitespace();
    let state = fields.next()?;
    // Field 3 is the state, so field 22 is the 19th after it. A zombie has ended.
    if state == "Z" || state == "X" {
        None
    } else {
        fields.nth(18)?.parse().ok()
    }
}

#[cfg(not(target_os = "linux"))]
fn started(pid: i32) -> Option<u64> {
    let output = std::process::Command::new("ps")
        .args(["-o", "stat=,lstart=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let (state, time) = line.split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| digest(time.trim().as_bytes()))
}

/// Pids of all processes whose working directory is `directory`. A PostgreSQL server works in its data directory, and
/// so do all its children.
#[cfg(target_os = "linux")]
pub(crate) fn working_in(directory: &Path) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| working_directory(*pid).is_some_and(|at| at == directory))
        .collect()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn working_in(directory: &Path) -> Vec<i32> {
    let at = directory.to_string_lossy();
    let Ok(output) = std::process::Command::new("ps")
        .args(["-axo", "pid=,command="])
        .output()
    else {
        return Vec::new();
    };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| line.contains("postgres") && line.contains(&*at))
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect()
}

#[cfg(target_os = "linux")]
fn working_directory(pid: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// FNV-1a: a short name for a long one, no secret involved.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_runs_and_another_start_time_is_another_process() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let me = ProcessIdentity::of(pid).unwrap();
        assert!(me.is_running());
        assert!(
            !ProcessIdentity {
                started: me.started + 1,
                ..me
            }
            .is_running()
        );
    }

    #[test]
    fn a_collected_child_is_gone() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        child.wait().unwrap();
        assert!(ProcessIdentity::of(pid).is_none());
    }

    #[test]
    fn a_process_is_found_by_where_it_works() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().canonicalize().unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .current_dir(&at)
            .spawn()
            .unwrap();
        let found = working_in(&at);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, vec![i32::try_from(child.id()).unwrap()]);
    }
}
