//! The services' logs: whole in `logs/`, shortened and filtered on the terminal.
//!
//! **Invariant:** a reader that stalls costs lines on the terminal, never time in a service.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use service_runtime::settings::variable;

/// A log file is renamed to `.1`, and the older one dropped, when it reaches this size.
const FILE_LIMIT_BYTES: u64 = 10 * 1024 * 1024;
/// Batches of lines that wait for a slow terminal; a batch is what a service had written when it was read.
const QUEUE: usize = 256;
/// How long the end of `up` waits for a terminal that does not read.
const FLUSH: Duration = Duration::from_secs(1);

/// Levels from the least to the most urgent.
const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];
/// Services and their colour on a terminal.
const SERVICES: [(&str, u8); 4] = [
    ("gateway", 36),
    ("core-api", 32),
    ("control-plane", 35),
    ("portico", 1),
];

/// Which lines reach the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    /// Empty: every service.
    services: Vec<&'static str>,
    /// Index into [`LEVELS`]; above the last: nothing.
    lowest: usize,
}

impl std::str::FromStr for Filter {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let info = 2;
        let mut filter = Self {
            services: Vec::new(),
            lowest: info,
        };
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            if word == "none" {
                filter.lowest = LEVELS.len();
            } else if let Some(level) = LEVELS.iter().position(|level| *level == word) {
                filter.lowest = level;
            } else if let Some((service, _)) = SERVICES.iter().find(|(service, _)| *service == word) {
                filter.services.push(service);
            } else {
                bail!(
                    "--tail: `{word}` is neither a service (gateway, core-api, control-plane) nor a level (trace, debug, info, warn, error), nor `none`"
                );
            }
        }
        Ok(filter)
    }
}

impl Filter {
    fn shows(&self, service: &str, level: &str) -> bool {
        let rank = LEVELS
            .iter()
            .position(|known| known.eq_ignore_ascii_case(level))
            .unwrap_or(LEVELS.len() - 1);
        rank >= self.lowest && (self.services.is_empty() || self.services.contains(&service))
    }
}

enum Message {
    Lines(String),
    Flush(SyncSender<()>),
}

/// The terminal. Cloning gives another handle to the same.
#[derive(Debug, Clone)]
pub(super) struct Terminal {
    queue: SyncSender<Message>,
    filter: Arc<Filter>,
    has_colour: bool,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

impl Terminal {
    pub(super) fn open(filter: Filter) -> anyhow::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("terminal".to_owned())
            .spawn(move || write_out(&messages))
            .context("cannot start a thread")?;
        let has_colour =
            io::stdout().is_terminal() && variable("NO_COLOR").is_none_or(|value| value.is_empty());
        Ok(Self {
            queue,
            filter: Arc::new(filter),
            has_colour,
        })
    }

    /// A line of `up` itself.
    pub(super) fn say(&self, text: &str) {
        self.put(format!("{}{text}\n", self.prefix("portico")));
    }

    /// Text as it is, without a prefix.
    pub(super) fn plain(&self, text: &str) {
        self.put(format!("{text}\n"));
    }

    /// Lines of a service, each with its end.
    fn service_lines(&self, service: &str, lines: &str) {
        let prefix = self.prefix(service);
        let mut shown = String::new();
        for line in lines.lines().filter(|line| !line.is_empty()) {
            let parsed: Option<Value> = serde_json::from_str(line).ok();
            // What is no JSON comes from outside the log: a panic, or an error before the log begins.
            let level = parsed
                .as_ref()
                .and_then(|line| line.get("level"))
                .and_then(Value::as_str)
                .unwrap_or("error");
            if self.filter.shows(service, level) {
                let text = parsed
                    .as_ref()
                    .map_or_else(|| line.to_owned(), |line| shortened(line, level));
                shown.push_str(&prefix);
                // Control characters of a client's choosing must not reach a terminal.
                shown.extend(text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }));
                shown.push('\n');
            }
        }
        if !shown.is_empty() {
            self.put(shown);
        }
    }

    fn prefix(&self, service: &str) -> String {
        let colour = SERVICES
            .iter()
            .find(|(name, _)| *name == service)
            .map_or(0, |(_, colour)| *colour);
        if self.has_colour {
            format!("\x1b[{colour}m{service:<13}\x1b[0m ")
        } else {
            format!("{service:<13} ")
        }
    }

    fn put(&self, lines: String) {
        // Full means that nobody reads: the file has the lines.
        drop(self.queue.try_send(Message::Lines(lines)));
    }

    /// Waits until everything said so far is written, but not for ever.
    pub(super) fn flush(&self) {
        let (done, finished) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            let _ = finished.recv_timeout(FLUSH);
        }
    }
}

fn write_out(messages: &Receiver<Message>) {
    let mut out = io::stdout().lock();
    while let Ok(message) = messages.recv() {
        match message {
            // A closed pipe means that nobody reads.
            Message::Lines(lines) => drop(out.write_all(lines.as_bytes()).and_then(|()| out.flush())),
            Message::Flush(done) => drop(done.try_send(())),
        }
    }
}

/// `12:00:01 INFO message key=value …`, from a JSON log line.
fn shortened(line: &Value, level: &str) -> String {
    let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
    let time = text("time").get(11..19).unwrap_or_default();
    let mut out = format!("{time} {level:<5} {}", text("message"));
    let known = [
        "time", "level", "service", "target", "message", "trace_id", "span_id",
    ];
    for (name, value) in line
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !known.contains(&name.as_str()))
    {
        match value {
            Value::String(text) => out.push_str(&format!(" {name}={text}")),
            other => out.push_str(&format!(" {name}={other}")),
        }
    }
    out
}

/// The log of one service: its file, and its way to the terminal.
#[derive(Debug, Clone)]
pub(super) struct ServiceLog {
    service: &'static str,
    file: Arc<Mutex<CappedFile>>,
    terminal: Terminal,
}

impl ServiceLog {
    pub(super) fn open(service: &'static str, directory: &Path, terminal: Terminal) -> anyhow::Result<Self> {
        let file = CappedFile::open(directory.join(format!("{service}.log")), FILE_LIMIT_BYTES)?;
        Ok(Self {
            service,
            file: Arc::new(Mutex::new(file)),
            terminal,
        })
    }

    /// Lines of the service, each with its end.
    pub(super) fn lines(&self, lines: &str) {
        // A full disk must not stop the service that is writing.
        drop(
            self.file
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write(lines),
        );
        self.terminal.service_lines(self.service, lines);
    }
}

#[derive(Debug)]
struct CappedFile {
    path: PathBuf,
    file: File,
    size: u64,
    limit: u64,
}

impl CappedFile {
    fn open(path: PathBuf, limit: u64) -> anyhow::Result<Self> {
        let file = append(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let size = file
            .metadata()
            .with_context(|| format!("cannot read {}", path.display()))?
            .len();
        Ok(Self {
            path,
            file,
            size,
            limit,
        })
    }

    fn write(&mut self, lines: &str) -> io::Result<()> {
        if self.size >= self.limit {
            fs::rename(&self.path, self.path.with_extension("log.1"))?;
            self.file = append(&self.path)?;
            self.size = 0;
        }
        self.file.write_all(lines.as_bytes())?;
        self.size = self
            .size
            .saturating_add(u64::try_from(lines.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_choose_services_and_levels() {
        let filter: Filter = "gateway,warn".parse().unwrap();
        assert!(filter.shows("gateway", "ERROR") && filter.shows("gateway", "WARN"));
        assert!(!filter.shows("gateway", "INFO") && !filter.shows("core-api", "ERROR"));
        assert!("info".parse::<Filter>().unwrap().shows("core-api", "INFO"));
        assert!(!"none".parse::<Filter>().unwrap().shows("core-api", "ERROR"));
        assert!("gatewy".parse::<Filter>().is_err());
    }

    fn shown(lines: &str, filter: &str) -> Option<String> {
        let (queue, messages) = sync_channel(1);
        let terminal = Terminal {
            queue,
            filter: Arc::new(filter.parse().unwrap()),
            has_colour: false,
        };
        terminal.service_lines("gateway", lines);
        match messages.try_recv() {
            Ok(Message::Lines(lines)) => Some(lines),
            Ok(Message::Flush(_)) | Err(_) => None,
        }
    }

    #[test]
    fn log_lines_are_shortened_and_harmless() {
        let line = serde_json::json!({"time": "2026-01-31T10:15:02.123Z", "level": "INFO", "service": "gateway",
            "target": "x", "message": "request", "status": 200, "path": "/a\u{1b}[2J"});
        let lines = format!("{line}\nthread panicked\u{1b}[2J\n");
        assert_eq!(
            shown(&lines, "info").unwrap(),
            "gateway       10:15:02 INFO  request path=/a\u{fffd}[2J status=200\n\
             gateway       thread panicked\u{fffd}[2J\n"
        );
        assert_eq!(
            shown(&lines, "warn").unwrap(),
            "gateway       thread panicked\u{fffd}[2J\n"
        );
        assert_eq!(shown(&lines, "core-api"), None);
    }

    #[test]
    fn a_log_file_starts_afresh_at_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.log");
        let mut file = CappedFile::open(path.clone(), 10).unwrap();
        for line in ["123456789\n", "second\n", "third\n"] {
            file.write(line).unwrap();
        }
        assert_eq!(
            fs::read_to_string(directory.path().join("gateway.log.1")).unwrap(),
            "123456789\n"
        );
        assert_eq!(fs::read_to_string(path).unwrap(), "second\nthird\n");
    }
}
