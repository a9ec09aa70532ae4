//! Clocks that are wrong on purpose: libfaketime between a process and the kernel.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use service_runtime::clock::Clock;

use super::evidence::{Micros, SECOND};

const LIBRARY: &str = "faketime/libfaketime.so.1";

/// The time now, as this machine has it.
pub(crate) fn now() -> Micros {
    Clock::system().now().timestamp_micros()
}

/// How far the clock of a process is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offset(pub(crate) i64);

impl Offset {
    /// The words before a program that has this clock; none for the right time. Only the time of day is wrong, deadlines are
    /// kept.
    pub(super) fn wrapper(self) -> anyhow::Result<Vec<String>> {
        if self.0 == 0 {
            return Ok(Vec::new());
        }
        Ok(vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", library()?.display()),
            format!("FAKETIME={:+}", self.0),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        ])
    }

    /// The true time of a moment that such a process has written down.
    pub(super) const fn corrected(self, written: Micros) -> Micros {
        written - self.0 * SECOND
    }
}

/// A clock that is set while the process runs, by a file.
#[derive(Debug)]
pub struct ClockFile(PathBuf);

impl ClockFile {
    /// A clock that is right until it is set.
    pub(crate) fn right(file: PathBuf) -> std::io::Result<Self> {
        let clock = Self(file);
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets it: how far it is off from now on, seconds.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set(&self, offset_s: i64) -> std::io::Result<()> {
        let draft = self.0.with_extension("draft");
        fs::write(&draft, format!("{offset_s:+}\n"))?;
        fs::rename(draft, &self.0)
    }

    /// The words before a program that has this clock.
    pub(crate) fn wrapper(&self) -> anyhow::Result<Vec<String>> {
        Ok(vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", library()?.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.0.display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        ])
    }
}

/// Shows that a clock can be wrong here: a run whose clocks are all right would prove less than it says.
///
/// # Errors
/// When libfaketime is not installed, or does nothing.
pub(super) fn can_be_skewed() -> anyhow::Result<()> {
    let words = Offset(-3_600).wrapper()?;
    let (program, rest) = words.split_first().context("no program")?;
    let output = Command::new(program).args(rest).args(["date", "+%s"]).output()?;
    let shown: i64 = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .context("date")?;
    let off_s = now() / SECOND - shown;
    ensure!(
        (3_590..3_660).contains(&off_s),
        "libfaketime does nothing: off by {off_s} s"
    );
    Ok(())
}

fn library() -> anyhow::Result<PathBuf> {
    let roots = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
    ];
    let mut places = roots.iter().map(|root| PathBuf::from(root).join(LIBRARY));
    places.find(|path| path.exists()).context(
        "no libfaketime, so no skewed clocks (Debian: faketime; scripts/install-dependencies --tests)",
    )
}
