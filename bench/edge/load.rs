//! One turn of load by wrk or h2load, and what it cost.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::client::Clients;
use crate::process::Process;

/// What to send.
#[derive(Debug)]
pub(crate) struct Load<'l> {
    pub(crate) port: u16,
    pub(crate) path: &'l str,
    pub(crate) client: &'l Client,
    /// Whether the proxy answers every request itself, with a refusal.
    pub(crate) is_refused: bool,
    pub(crate) seconds: u32,
    pub(crate) connections: u32,
    /// A file for what the client notes.
    pub(crate) notes: PathBuf,
}

/// Who sends it.
#[derive(Debug, Clone)]
pub(crate) enum Client {
    /// wrk over HTTP/1.1, a closed loop; the script sets the headers.
    Closed(PathBuf),
    /// h2load over HTTP/1.1, so many requests a second, whether or not answers come.
    Open(u32),
    /// h2load over HTTP/2, a closed loop with so many streams on each of its connections.
    Streams(u32),
    /// The bench itself, a closed loop.
    Own(Clients),
}

/// What one turn came to.
#[derive(Debug)]
pub(crate) struct Result {
    pub(crate) cpu_ns_per_request: u64,
    requests_per_second: u64,
    p50_us: u64,
    p99_us: u64,
    p999_us: u64,
    resident_kib: u64,
}

struct Said {
    requests: u64,
    p50_us: u64,
    p99_us: u64,
    p999_us: u64,
}

impl Load<'_> {
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}{}", self.port, self.path)
    }

    /// Runs one turn. A request that fails ends the bench: figures of a run that lost requests say nothing.
    pub(crate) fn run(&self, process: &Process) -> anyhow::Result<Result> {
        let before = process.cpu()?;
        let said = match self.client {
            Client::Closed(script) => self.wrk(script)?,
            Client::Open(rate) => {
                let each = (rate / self.connections).max(1);
                self.h2load(&["--h1".to_owned(), format!("--rps={each}")], self.connections)?
            }
            Client::Streams(streams) => self.h2load(&[format!("-m{streams}")], self.connections / streams)?,
            Client::Own(clients) => {
                let time = Duration::from_secs(u64::from(self.seconds));
                Said::of(clients.run(self.connections, time, self.port, self.path)?)?
            }
        };
        let used = process.cpu()?.saturating_sub(before);
        Ok(Result {
            cpu_ns_per_request: u64::try_from(used.as_nanos())?
                .checked_div(said.requests)
                .unwrap_or(0),
            requests_per_second: said.requests / u64::from(self.seconds),
            p50_us: said.p50_us,
            p99_us: said.p99_us,
            p999_us: said.p999_us,
            resident_kib: process.resident_kib()?,
        })
    }

    fn wrk(&self, script: &Path) -> anyhow::Result<Said> {
        let said = output(
            Command::new("wrk")
                .args(["-t1", "--latency"])
                .arg(format!("-c{}", self.connections))
                .arg(format!("-d{}s", self.seconds))
                .arg("-s")
                .arg(script)
                .arg(self.url()),
        )?;
        let requests: u64 = number_before(&said, " requests in ").context("wrk told no requests")?;
        let refused = number_after(&said, "Non-2xx or 3xx responses: ").unwrap_or(0);
        // Of a limit that refuses, the first request is let through.
        let as_wanted = if self.is_refused {
            refused + 1 >= requests
        } else {
            refused == 0
        };
        if !as_wanted || said.contains("Socket errors") {
            bail!("{said}");
        }
        Ok(Said {
            requests,
            p50_us: percentile(&said, "50%")?,
            p99_us: percentile(&said, "99%")?,
            // Written by `done` in the script.
            p999_us: percentile(&said, "p99.9")?,
        })
    }

    fn h2load(&self, how: &[String], connections: u32) -> anyhow::Result<Said> {
        let said = output(
            Command::new("h2load")
                .arg("-t1")
                .arg(format!("-c{connections}"))
                .arg(format!("-D{}", self.seconds))
                .arg(format!("--log-file={}", self.notes.display()))
                .args(how)
                .arg(self.url()),
        )?;
        let mut latencies = Vec::new();
        for line in fs::read_to_string(&self.notes)?.lines() {
            let mut columns = line.split('\t').skip(1);
            if columns.next() != Some("200") {
                bail!("{line}\n{said}");
            }
            latencies.push(columns.next().context("h2load noted no time")?.parse::<u64>()?);
        }
        fs::remove_file(&self.notes)?;
        Said::of(latencies)
    }
}

impl Said {
    /// What these latencies come to, in microseconds.
    fn of(mut latencies: Vec<u64>) -> anyhow::Result<Self> {
        latencies.sort_unstable();
        let at = |thousandths: usize| {
            let rank = (latencies.len() * thousandths).div_ceil(1_000);
            latencies.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        Ok(Self {
            requests: u64::try_from(latencies.len())?,
            p50_us: at(500),
            p99_us: at(990),
            p999_us: at(999),
        })
    }
}

/// What a client prints, if it ends well.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot start {name} (Debian: wrk, nghttp2-client)"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{said}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(said)
}

/// The number that a line begins with, before these words.
pub(crate) fn number_before(said: &str, mark: &str) -> Option<u64> {
    said.lines()
        .find_map(|line| line.trim().split_once(mark))
        .and_then(|(number, _)| number.parse().ok())
}

/// The number behind the words that a line begins with.
pub(crate) fn number_after(said: &str, mark: &str) -> Option<u64> {
    said.lines()
        .find_map(|line| line.trim().strip_prefix(mark))
        .and_then(|number| number.trim().parse().ok())
}

/// A line of wrk's latency table, in microseconds.
fn percentile(said: &str, name: &str) -> anyhow::Result<u64> {
    let line = said.lines().find_map(|line| line.trim().strip_prefix(name));
    let text = line.context("wrk told no latencies")?.trim();
    let (number, unit) = [("us", 1), ("ms", 1_000), ("s", 1_000_000)]
        .into_iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))
        .with_context(|| format!("an unknown time: {text}"))?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let hundredths: u64 = format!("{part:0<2}").get(..2).unwrap_or("0").parse()?;
    Ok((whole.parse::<u64>()? * 100 + hundredths) * unit / 100)
}

impl fmt::Display for Result {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>9} {:>10} {:>8} {:>8} {:>8} {:>8}",
            format!(
                "{}.{}",
                self.cpu_ns_per_request / 1_000,
                self.cpu_ns_per_request % 1_000 / 100
            ),
            self.requests_per_second,
            self.p50_us,
            self.p99_us,
            self.p999_us,
            self.resident_kib / 1_024
        )
    }
}
