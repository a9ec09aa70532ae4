//! A gateway process: started, replaced, stopped, killed, and how much memory it has.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

use super::{Place, Site};

/// Whatever is waited for is there long before.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running gateway, whichever process it is by now. What runs is killed when it is dropped.
#[derive(Debug)]
pub struct Gateway {
    binary: PathBuf,
    settings: PathBuf,
    log: PathBuf,
    endpoints: PathBuf,
    /// Every process that was started here and may still run, the newest last.
    pids: Vec<Pid>,
    child: Child,
}

impl Gateway {
    /// Starts one, and waits until it listens. `wrapper` are words before the program, such as `ip netns exec NAME`.
    ///
    /// # Errors
    /// When it does not start; its log is part of the error.
    pub async fn start(
        site: &Site,
        place: &Place,
        binary: &Path,
        wrapper: &[String],
    ) -> anyhow::Result<Self> {
        let settings = site.write_settings(place)?;
        let log = site.path(&format!("{}.log", place.name));
        let endpoints = site.path(&format!("{}.json", place.name));
        drop(fs::remove_file(&endpoints));
        let out = File::options().create(true).append(true).open(&log)?;
        let program = binary.as_os_str().to_owned();
        let mut words = wrapper.iter().map(Into::into).chain([program]);
        let mut child = Command::new(words.next().context("no program")?)
            .args(words)
            .args(["gateway", "--settings"])
            .arg(&settings)
            .env("APP_ENV", "test")
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        eventually(&format!("{} listens", place.name), async || {
            endpoints.exists() || matches!(child.try_wait(), Ok(Some(_)))
        })
        .await?;
        if !endpoints.exists() {
            bail!("{} ended:\n{}", place.name, fs::read_to_string(&log)?);
        }
        let mut gateway = Self {
            binary: binary.to_owned(),
            settings,
            log,
            endpoints,
            pids: Vec::new(),
            child,
        };
        gateway.pids.push(gateway.pid()?);
        Ok(gateway)
    }

    fn endpoint(&self, name: &str) -> anyhow::Result<Value> {
        let endpoints: Value = serde_json::from_slice(&fs::read(&self.endpoints)?)?;
        let value = endpoints.get(name).cloned();
        value.with_context(|| format!("{}: no {name}", self.endpoints.display()))
    }

    /// Where a side of a listener is, as in `edge.https`.
    ///
    /// # Errors
    /// When it has not said so.
    pub fn address(&self, name: &str) -> anyhow::Result<SocketAddr> {
        Ok(self.endpoint(name)?.as_str().unwrap_or_default().parse()?)
    }

    /// Where clients come in.
    ///
    /// # Errors
    /// When it has not said so.
    pub fn https(&self) -> anyhow::Result<SocketAddr> {
        self.address("edge.https")
    }

    /// The process that serves.
    ///
    /// # Errors
    /// When it has not said so.
    pub fn pid(&self) -> anyhow::Result<Pid> {
        let pid = self.endpoint("pid")?.as_i64().context("no number")?;
        Pid::from_raw(pid.try_into()?).context("no process")
    }

    /// Whether this process still runs.
    #[must_use]
    pub fn is_running(pid: Pid) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// Runs `portico gateway upgrade`; its exit code, and what it printed.
    ///
    /// # Errors
    /// When the command cannot be run.
    pub async fn upgrade(&mut self) -> anyhow::Result<(Option<i32>, String)> {
        let output = Command::new(&self.binary)
            .args(["gateway", "upgrade", "--settings"])
            .arg(&self.settings)
            .env("APP_ENV", "test")
            .output()
            .await?;
        let pid = self.pid()?;
        if !self.pids.contains(&pid) {
            self.pids.push(pid);
        }
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
    }

    /// Sends a signal to the process that serves.
    ///
    /// # Errors
    /// When there is none.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// Waits until no process of it runs.
    ///
    /// # Errors
    /// When one goes on.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        drop(timeout(PATIENCE, self.child.wait()).await?);
        let pids = self.pids.clone();
        eventually("every process of the gateway has ended", async || {
            !pids.iter().any(|pid| Self::is_running(*pid))
        })
        .await
    }

    /// Resident memory of the process that serves, in KiB.
    ///
    /// # Errors
    /// When there is none.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?.as_raw_nonzero()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.context("no VmRSS")?.parse()?)
    }

    /// What all its processes have logged.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// The value of a metric line that begins with this text; `None` when there is none.
    ///
    /// # Errors
    /// When the private listener does not answer.
    pub async fn metric(&self, line: &str) -> anyhow::Result<Option<i64>> {
        let url = format!("http://{}/metrics", self.address("private")?);
        let text = private_client()?.get(url).send().await?.text().await?;
        let found = text.lines().find_map(|found| found.strip_prefix(line));
        Ok(found.and_then(|value| value.trim().parse().ok()))
    }

    /// What it says of its readiness: the status, and each check.
    ///
    /// # Errors
    /// When the private listener does not answer.
    pub async fn readiness(&self) -> anyhow::Result<(u16, Value)> {
        let url = format!("http://{}/health/ready", self.address("private")?);
        let answer = private_client()?.get(url).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    /// Waits until it knows whether the store of its limits is there.
    ///
    /// # Errors
    /// When it does not.
    pub async fn knows_store(&self, is_up: bool) -> anyhow::Result<()> {
        let what = format!("{} knows of its store", self.settings.display());
        eventually(&what, async || {
            matches!(self.metric("portico_limit_store_up").await, Ok(Some(up)) if up == i64::from(is_up))
        })
        .await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        for pid in self.pids.iter().filter(|pid| Self::is_running(**pid)) {
            // It may have ended meanwhile.
            let _ = kill_process(*pid, Signal::KILL);
        }
    }
}

fn private_client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .pool_max_idle_per_host(0)
        .no_proxy()
        .build()
}

/// Waits for a condition.
///
/// # Errors
/// When it does not come true within a minute.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) -> anyhow::Result<()> {
    let mut ticks = interval(Duration::from_millis(10));
    let waiting = async {
        loop {
            ticks.tick().await;
            if condition().await {
                return;
            }
        }
    };
    timeout(PATIENCE, waiting)
        .await
        .with_context(|| format!("never: {what}"))
}
