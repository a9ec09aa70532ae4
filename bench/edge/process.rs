//! A process that was started for a bench, and what it has used.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Clock ticks a second in `/proc`: fixed on Linux for every architecture that Rust knows.
const TICKS: u64 = 100;
const START_WITHIN: Duration = Duration::from_secs(20);
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// A running process with its children; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts it with its output thrown away, and waits until a port answers.
    pub(crate) fn start(command: &mut Command, port: u16, log: &Path) -> anyhow::Result<Self> {
        let log = fs::File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let mut process = Self(child);
        let deadline = Instant::now() + START_WITHIN;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = process.0.try_wait()? {
                bail!("{} ended: {status}", command.get_program().display());
            }
            if Instant::now() > deadline {
                bail!("{} does not listen on {port}", command.get_program().display());
            }
            std::thread::yield_now();
        }
        Ok(process)
    }

    /// It and its children, by id.
    fn family(&self) -> anyhow::Result<Vec<u32>> {
        let parent = self.0.id();
        let mut family = vec![parent];
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if stat(id).is_ok_and(|stat| stat.first().is_some_and(|of| *of == u64::from(parent))) {
                family.push(id);
            }
        }
        Ok(family)
    }

    /// Processor time that it and its children have used.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let mut ticks = 0;
        for id in self.family()? {
            // utime and stime: fields 14 and 15, counted from the parent's id, field 4.
            let stat = stat(id)?;
            ticks += stat
                .get(10)
                .zip(stat.get(11))
                .map_or(0, |(user, system)| user + system);
        }
        Ok(Duration::from_secs(1) * u32::try_from(ticks)? / u32::try_from(TICKS)?)
    }

    /// Memory that is resident, in KiB.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for id in self.family()? {
            let status = fs::read_to_string(format!("/proc/{id}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = line.and_then(|line| line.split_whitespace().next());
            sum += kib.context("no VmRSS")?.parse::<u64>()?;
        }
        Ok(sum)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // All of them end at once on SIGINT, with their children; on SIGTERM pingora alone would wait for minutes.
        if let Some(id) = i32::try_from(self.0.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::INT);
        }
        let deadline = Instant::now() + STOP_WITHIN;
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The numbers of `/proc/<id>/stat` from the fourth field on; what comes before may hold anything.
fn stat(id: u32) -> anyhow::Result<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, rest) = text.rsplit_once(") ").context("an unknown /proc/<id>/stat")?;
    let numbers = rest.split_whitespace().skip(1);
    Ok(numbers.map(|number| number.parse().unwrap_or_default()).collect())
}
