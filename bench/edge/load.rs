//! One turn of load by wrk, and what it cost.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::process::Process;

/// What to send.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) url: String,
    /// A script of wrk that sets the headers.
    pub(crate) script: PathBuf,
    pub(crate) seconds: u32,
    pub(crate) connections: u32,
}

/// What one turn came to.
#[derive(Debug)]
pub(crate) struct Result {
    pub(crate) cpu_ns_per_request: u64,
    requests_per_second: u64,
    p50_us: u64,
    p99_us: u64,
    resident_kib: u64,
}

impl Load {
    /// Runs one turn. A request that fails ends the bench: figures of a run that lost requests say nothing.
    pub(crate) fn run(&self, process: &Process) -> anyhow::Result<Result> {
        let before = process.cpu()?;
        let output = Command::new("wrk")
            .args(["-t1", "--latency"])
            .arg(format!("-c{}", self.connections))
            .arg(format!("-d{}s", self.seconds))
            .arg("-s")
            .arg(&self.script)
            .arg(&self.url)
            .output()
            .context("cannot start wrk (Debian: wrk)")?;
        let used = process.cpu()?.saturating_sub(before);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() || said.contains("Non-2xx") || said.contains("Socket errors") {
            bail!("{said}{}", String::from_utf8_lossy(&output.stderr));
        }
        let requests: u64 = said
            .lines()
            .find_map(|line| line.trim().split_once(" requests in "))
            .context("wrk told no requests")?
            .0
            .parse()?;
        Ok(Result {
            cpu_ns_per_request: u64::try_from(used.as_nanos())?.checked_div(requests).unwrap_or(0),
            requests_per_second: requests / u64::from(self.seconds),
            p50_us: percentile(&said, "50%")?,
            p99_us: percentile(&said, "99%")?,
            resident_kib: process.resident_kib()?,
        })
    }
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
            "{:>9} {:>10} {:>8} {:>8} {:>8}",
            format!(
                "{}.{}",
                self.cpu_ns_per_request / 1_000,
                self.cpu_ns_per_request % 1_000 / 100
            ),
            self.requests_per_second,
            self.p50_us,
            self.p99_us,
            self.resident_kib / 1_024
        )
    }
}
