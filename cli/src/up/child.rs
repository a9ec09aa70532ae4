//! One service as a child process: started, followed, restarted when it dies, stopped in order.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use database::process::ProcessIdentity;
use rustix::process::{Pid, Signal};
use service_runtime::settings::Environment;
use service_runtime::shutdown::Shutdown;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::logs::{ServiceLog, Terminal};
use super::survivors;
use crate::data_directory::DataDirectory;

/// First pause before a service that died is started again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A service that ran this long had not died of its start.
const STEADY: Duration = Duration::from_secs(60);
/// How long a service may take to finish its requests: longer than the gateway's own grace.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// A longer line is cut in two.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// How often it is looked whether a process that is no child of ours still runs, and whether one has taken over.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const READ_BYTES: usize = 16 * 1024;
/// How long what a process said last may take to arrive once it has ended.
const LAST_WORDS_PATIENCE: Duration = Duration::from_secs(1);
/// Lines kept to say why a service did not start.
const LAST_WORDS: usize = 20;

/// How to start one service.
#[derive(Debug, Clone)]
pub(super) struct Service {
    /// Its name, which is also its subcommand.
    pub(super) name: &'static str,
    pub(super) program: PathBuf,
    pub(super) settings: PathBuf,
    pub(super) endpoints_file: PathBuf,
    pub(super) environment: Environment,
    pub(super) log: ServiceLog,
}

/// A service that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) service: Service,
    pub(super) identity: ProcessIdentity,
    child: Child,
    /// Whether another process has taken over from the one that was started here: not a child of ours.
    is_adopted: bool,
    group: Option<Pid>,
    started_at: Instant,
    last_words: Arc<Mutex<VecDeque<String>>>,
    followers: Vec<JoinHandle<()>>,
    /// When waiting for its last words ends; known once it has ended.
    silent_at: Option<tokio::time::Instant>,
}

impl Service {
    /// Starts the service in a process group of its own, so that Ctrl-C in a terminal reaches `up` alone.
    pub(super) fn start(&self, readers: &Shutdown) -> anyhow::Result<Running> {
        // What an earlier process wrote there is no answer of this one.
        remove(&self.endpoints_file)?;
        let mut child = Command::new(&self.program)
            .arg(self.name)
            .arg("--settings")
            .arg(&self.settings)
            .env("APP_ENV", self.environment.as_str())
            .env_remove("DATABASE_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {} {}", self.program.display(), self.name))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let identity = pid
            .and_then(ProcessIdentity::of)
            .with_context(|| format!("{} ended at once", self.name))?;
        let last_words = Arc::new(Mutex::new(VecDeque::new()));
        let mut followers = Vec::new();
        if let Some(out) = child.stdout.take() {
            followers.push(readers.spawn(follow(out, self.log.clone(), last_words.clone())));
        }
        if let Some(errors) = child.stderr.take() {
            followers.push(readers.spawn(follow(errors, self.log.clone(), last_words.clone())));
        }
        Ok(Running {
            service: self.clone(),
            identity,
            child,
            is_adopted: false,
            group: Pid::from_raw(identity.pid),
            started_at: Instant::now(),
            last_words,
            followers,
            silent_at: None,
        })
    }
}

impl Running {
    /// Waits for the process to end and says how; its last words are known then. May be dropped and called again.
    pub(super) async fn ended(&mut self) -> String {
        if self.is_adopted {
            let mut tick = tokio::time::interval(LOOK_EVERY);
            while self.identity.is_running() {
                tick.tick().await;
            }
            return "ended".to_owned();
        }
        let how = match self.child.wait().await {
            Ok(status) => describe(status),
            Err(error) => error.to_string(),
        };
        let silent_at = *self
            .silent_at
            .get_or_insert_with(|| tokio::time::Instant::now() + LAST_WORDS_PATIENCE);
        while let Some(follower) = self.followers.last_mut() {
            // Something that it started may still hold the pipe open.
            drop(tokio::time::timeout_at(silent_at, follower).await);
            self.followers.pop();
        }
        how
    }

    /// What the process said last that is not an ordinary log line; usually why it ended.
    pub(super) fn last_words(&self) -> Option<String> {
        let lines = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            None
        } else {
            Some(lines.iter().cloned().collect::<Vec<_>>().join("\n  "))
        }
    }

    /// From now on another process is the service.
    fn adopt(&mut self, successor: ProcessIdentity) {
        self.identity = successor;
        self.is_adopted = true;
    }

    /// Signals the service, and what it has replaced and still drains: a new process is in the group of the old one.
    fn signal(&self, signal: Signal) -> bool {
        if !self.is_adopted {
            return self.identity.signal(signal);
        }
        let is_running = self.identity.is_running();
        is_running
            && self
                .group
                .is_some_and(|group| rustix::process::kill_process_group(group, signal).is_ok())
    }

    /// Stops the process: it finishes its requests, unless it takes too long or `hurry` says so.
    pub(super) async fn stop(&mut self, hurry: &CancellationToken) {
        // It may have been replaced a moment ago.
        if let Some(successor) = another(&self.service.endpoints_file, self.identity) {
            self.adopt(successor);
        }
        if !self.signal(Signal::TERM) {
            return;
        }
        let (identity, child) = (self.identity, &mut self.child);
        let patient = tokio::time::timeout(STOP_PATIENCE, async {
            let mut tick = tokio::time::interval(LOOK_EVERY);
            drop(child.wait().await);
            while identity.is_running() {
                tick.tick().await;
            }
        });
        let has_ended = tokio::select! {
            result = patient => result.is_ok(),
            () = hurry.cancelled() => false,
        };
        if !has_ended {
            // An error means that it ended meanwhile.
            drop(self.child.kill().await);
            let _ = self.signal(Signal::KILL);
        }
    }
}

/// Restarts a service whenever it dies, until `stop`; then stops it.
pub(super) async fn supervise(
    mut running: Running,
    directory: DataDirectory,
    readers: Shutdown,
    terminal: Terminal,
    stop: CancellationToken,
    hurry: CancellationToken,
) {
    let name = running.service.name;
    let mut pause = FIRST_PAUSE;
    loop {
        let successor = successor(running.service.endpoints_file.clone(), running.identity);
        let how = tokio::select! {
            biased;
            () = stop.cancelled() => return running.stop(&hurry).await,
            successor = successor => {
                terminal.say(&format!("{name}: process {} has taken over", successor.pid));
                running.adopt(successor);
                note(&directory, &running, &terminal);
                continue;
            }
            how = running.ended() => how,
        };
        if running.started_at.elapsed() >= STEADY {
            pause = FIRST_PAUSE;
        }
        let mut reason = running
            .last_words()
            .map(|words| format!(": {words}"))
            .unwrap_or_default();
        loop {
            terminal.say(&format!(
                "{name} {how}{reason}; starting it again in {} ms",
                pause.as_millis()
            ));
            tokio::select! {
                () = stop.cancelled() => return,
                () = wait(pause) => {}
            }
            pause = LONGEST_PAUSE.min(pause * 2);
            match running.service.start(&readers) {
                Ok(again) => {
                    running = again;
                    break;
                }
                Err(error) => reason = format!(": {error:#}"),
            }
        }
        note(&directory, &running, &terminal);
    }
}

fn note(directory: &DataDirectory, running: &Running, terminal: &Terminal) {
    if let Err(error) = survivors::note(directory, running.service.name, running.identity) {
        terminal.say(&format!("{error:#}"));
    }
}

/// Completes when another process has taken over (`portico gateway upgrade`): it has written its id where it says where
/// it listens.
async fn successor(endpoints_file: PathBuf, serving: ProcessIdentity) -> ProcessIdentity {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tick.tick().await;
        if let Some(successor) = another(&endpoints_file, serving) {
            return successor;
        }
    }
}

/// The process that says that it listens, when it is not the one that is known to.
fn another(endpoints_file: &Path, known: ProcessIdentity) -> Option<ProcessIdentity> {
    let pid = pid_in(endpoints_file).filter(|pid| *pid != known.pid)?;
    ProcessIdentity::of(pid)
}

/// The process that wrote this file; only a gateway says it.
fn pid_in(endpoints_file: &Path) -> Option<i32> {
    let endpoints: serde_json::Value = serde_json::from_slice(&std::fs::read(endpoints_file).ok()?).ok()?;
    endpoints.get("pid")?.as_i64()?.try_into().ok()
}

async fn wait(pause: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a back-off: a service that dies at once must not be started in a loop"
    )]
    tokio::time::sleep(pause).await;
}

/// Hands on what the process says, whole lines at a time, until it closes its end.
async fn follow(
    mut stream: impl AsyncRead + Unpin,
    log: ServiceLog,
    last_words: Arc<Mutex<VecDeque<String>>>,
) {
    let mut said = Vec::new();
    loop {
        said.reserve(READ_BYTES);
        let ended = matches!(stream.read_buf(&mut said).await, Ok(0) | Err(_));
        let last_end = said.iter().rposition(|byte| *byte == b'\n');
        let whole = match last_end {
            Some(end) if !ended => end + 1,
            None if !ended && said.len() < MAX_LINE_BYTES => 0,
            // A line that is too long is cut in two, and the last one may have no end.
            _ => said.len(),
        };
        let rest = said.split_off(whole);
        if !said.is_empty() {
            let mut lines = String::from_utf8_lossy(&said).into_owned();
            if !lines.ends_with('\n') {
                lines.push('\n');
            }
            log.lines(&lines);
            remember(&lines, &last_words);
        }
        if ended {
            return;
        }
        said = rest;
    }
}

/// Keeps the last lines that are no log lines.
fn remember(lines: &str, last_words: &Mutex<VecDeque<String>>) {
    for line in lines
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('{'))
    {
        let mut words = last_words.lock().unwrap_or_else(PoisonError::into_inner);
        words.push_back(line.to_owned());
        if words.len() > LAST_WORDS {
            words.pop_front();
        }
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::logs::Filter;
    use super::*;

    #[tokio::test]
    async fn last_words_that_come_late_are_heard_by_whoever_asks_again() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        let gate = directory.path().join("gate");
        let text = format!(
            "mkfifo {0}\n(read line < {0}; echo why it ended >&2) &\nexit 3\n",
            gate.display()
        );
        fs::write(&script, text).unwrap();
        let name: &'static str = script.to_string_lossy().into_owned().leak();
        let terminal = Terminal::open("none".parse::<Filter>().unwrap()).unwrap();
        let service = Service {
            name,
            program: "/bin/sh".into(),
            settings: directory.path().join("settings"),
            endpoints_file: directory.path().join("endpoints"),
            environment: Environment::Test,
            log: ServiceLog::open("gateway", directory.path(), terminal).unwrap(),
        };
        let readers = Shutdown::new();
        let mut running = service.start(&readers).unwrap();

        running.child.wait().await.unwrap();
        let asked = tokio::time::timeout(Duration::ZERO, running.ended()).await;
        assert!(asked.is_err(), "{asked:?}");
        assert_eq!(running.last_words(), None);

        fs::write(&gate, "now\n").unwrap();
        assert_eq!(running.ended().await, "ended with code 3");
        assert_eq!(running.last_words().as_deref(), Some("why it ended"));
    }
}
