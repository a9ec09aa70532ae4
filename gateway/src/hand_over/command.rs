//! `portico gateway upgrade`: asks the running gateway, and says what came of it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::settings::Settings;

/// What a client says; nothing else is understood.
pub(super) const REQUEST: &str = "upgrade\n";
/// How much longer than the new process has to start an answer may take.
const ANSWER_SLACK: Duration = Duration::from_secs(30);

/// Where a gateway is asked to hand over: beside its state, which is its user's alone.
pub(super) fn socket(state_dir: &Path) -> PathBuf {
    state_dir.join("upgrade.sock")
}

/// What the gateway answers.
pub(super) fn answer(outcome: &anyhow::Result<u32>) -> String {
    match outcome {
        Ok(pid) => format!("done {pid}\n"),
        Err(error) => format!("failed {}\n", format!("{error:#}").replace(['\n', '\r'], " ")),
    }
}

/// Has the gateway that runs with these settings replaced by a new process, and waits until that serves. Returns the id
/// of the new process.
///
/// # Errors
/// When no gateway runs there, or the new process did not come to serve: the old one keeps serving then.
pub fn request(settings: &Settings) -> anyhow::Result<u32> {
    let path = socket(&settings.state_dir);
    let mut stream = UnixStream::connect(&path).with_context(|| {
        format!(
            "no gateway that could be upgraded answers at {}: it runs as this user with these settings, or root asks",
            path.display()
        )
    })?;
    stream.set_read_timeout(Some(settings.upgrade.ready_within() + ANSWER_SLACK))?;
    // One that refuses does not listen, and its answer says why.
    drop(stream.write_all(REQUEST.as_bytes()));
    let mut line = String::new();
    BufReader::new(&stream)
        .read_line(&mut line)
        .context("the gateway did not say what came of the upgrade: its log does")?;
    match line.trim_end().split_once(' ') {
        Some(("done", pid)) => pid.parse().context("the gateway named no process"),
        Some(("failed", reason)) => bail!("{reason}; the old process keeps serving"),
        _ => bail!("the gateway broke off, and its log says why: if it was draining, ask again"),
    }
}
