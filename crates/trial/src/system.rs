//! A whole Portico as a child process: started, watched, struck, and stopped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval, timeout};

/// How long a system may take from its start until it says where it is.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// How long an orderly stop may take.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// What to start.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The `portico` binary.
    pub binary: PathBuf,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// The policy files it enforces.
    pub policies: PathBuf,
    /// `APP_ENV`.
    pub environment: &'static str,
    /// Further variables, which override settings of its services.
    pub variables: Vec<(&'static str, String)>,
}

/// Where a running system is: `endpoints.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Endpoints {
    /// The public HTTPS address, `https://127.0.0.1:8443`.
    pub gateway_https: String,
    /// The public HTTP address.
    pub gateway_http: String,
    /// The certificate authority that signed the gateway's certificate, a PEM file.
    pub ca_cert: PathBuf,
    /// The private listener of each service, by its name.
    pub metrics: BTreeMap<String, String>,
    /// The database, for a read-only auditor.
    pub database_url: String,
}

/// One of the processes of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The gateway.
    Gateway,
    /// The core banking API.
    CoreApi,
    /// The control plane.
    ControlPlane,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gateway, Self::CoreApi, Self::ControlPlane];

    /// The subcommand that runs it, which is its name everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::CoreApi => "core-api",
            Self::ControlPlane => "control-plane",
        }
    }
}

/// A running system. Stop it with [`System::stop`]; dropping it, as a test that panics does, stops it as well.
#[derive(Debug)]
pub struct System {
    launch: Launch,
    up: Child,
    endpoints: Endpoints,
}

impl System {
    /// Starts a system on ports of its own choice and waits until it says that it is ready.
    ///
    /// # Errors
    /// When it does not get ready; what it printed is part of the error.
    pub async fn start(launch: Launch) -> anyhow::Result<Self> {
        service_runtime::crypto::install_provider();
        let endpoints_file = launch.data_dir.join("endpoints.json");
        std::fs::create_dir_all(&launch.data_dir)?;
        match std::fs::remove_file(&endpoints_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        let printed = launch.data_dir.with_extension("up.log");
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&printed)?;
        let mut up = Command::new(&launch.binary)
            .arg("up")
            .args(["--https-port", "0", "--http-port", "0", "--console-port", "0"])
            .arg("--data-dir")
            .arg(&launch.data_dir)
            .arg("--policies")
            .arg(&launch.policies)
            .env("APP_ENV", launch.environment)
            .envs(launch.variables.iter().map(|(name, value)| (name, value)))
            .env_remove("DATABASE_URL")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", launch.binary.display()))?;

        let started = Instant::now();
        let mut tick = interval(Duration::from_millis(20));
        while !endpoints_file.exists() {
            tick.tick().await;
            if let Some(status) = up.try_wait()? {
                bail!(
                    "`portico up` ended with {status}:\n{}",
                    std::fs::read_to_string(&printed)?
                );
            }
            if started.elapsed() > START_DEADLINE {
                bail!(
                    "`portico up` is not ready:\n{}",
                    std::fs::read_to_string(&printed)?
                );
            }
        }
        let endpoints = serde_json::from_slice(&std::fs::read(&endpoints_file)?)?;
        Ok(Self {
            launch,
            up,
            endpoints,
        })
    }

    /// Where it is.
    #[must_use]
    pub const fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// What it was started with.
    #[must_use]
    pub const fn launch(&self) -> &Launch {
        &self.launch
    }

    /// Everything that `portico up` has printed so far.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn printed(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(
            self.launch.data_dir.with_extension("up.log"),
        )?)
    }

    /// Runs another command of the same binary against this system, and returns its exit code and what it printed.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn portico(&self, arguments: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
        let output = Command::new(&self.launch.binary)
            .args(arguments)
            .env("APP_ENV", self.launch.environment)
            .env_remove("DATABASE_URL")
            .output()
            .await?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
    }

    /// The process id of a service, as its supervisor knows it.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pid_of(&self, service: Service) -> anyhow::Result<Pid> {
        pid_in(&self.launch.data_dir, service)
    }

    /// Kills a service as the kernel would when memory is short: at once, without a chance to clean up. Returns when
    /// another process has taken its place and says that it is ready.
    ///
    /// # Errors
    /// When the service is not running, or does not come back.
    pub async fn kill_and_await(&self, service: Service) -> anyhow::Result<()> {
        let victim = self.pid_of(service)?;
        kill_process(victim, Signal::KILL)?;
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(2))
            .build()?;
        let mut tick = interval(Duration::from_millis(20));
        let back = async {
            loop {
                tick.tick().await;
                if !self.pid_of(service).is_ok_and(|pid| pid != victim) {
                    continue;
                }
                let Some(address) = self.private_address(service) else {
                    continue;
                };
                let ready = client.get(format!("{address}/health/ready")).send().await;
                if ready.is_ok_and(|answer| answer.status().is_success()) {
                    return;
                }
            }
        };
        timeout(START_DEADLINE, back)
            .await
            .with_context(|| format!("{} did not come back after kill -9", service.name()))
    }

    /// The private listener of a service as the endpoints file names it now: it may move when the service restarts.
    #[must_use]
    pub fn private_address(&self, service: Service) -> Option<String> {
        let text = std::fs::read(self.launch.data_dir.join("endpoints.json")).ok()?;
        let endpoints: Endpoints = serde_json::from_slice(&text).ok()?;
        endpoints
            .metrics
            .get(service.name())
            .map(|url| url.trim_end_matches("/metrics").to_owned())
    }

    /// The metrics of a service, as text.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self, service: Service) -> anyhow::Result<String> {
        let address = self.private_address(service).context("no such service")?;
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(5))
            .build()?;
        Ok(client
            .get(format!("{address}/metrics"))
            .send()
            .await?
            .error_for_status()?
            .text()
            .await?)
    }

    /// Stops it as an operator would, with SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn stop(mut self) -> anyhow::Result<ExitStatus> {
        let id = self
            .up
            .id()
            .and_then(|id| Pid::from_raw(id.try_into().ok()?))
            .context("`up` has ended")?;
        kill_process(id, Signal::TERM)?;
        timeout(STOP_DEADLINE, self.up.wait())
            .await
            .context("`up` does not stop")?
            .map_err(Into::into)
    }

    /// The process of `portico up` itself, unless it has ended.
    #[must_use]
    pub fn up_pid(&self) -> Option<Pid> {
        self.up.id().and_then(|id| Pid::from_raw(id.try_into().ok()?))
    }

    /// Kills `portico up` itself, with SIGKILL, and leaves its children running.
    ///
    /// # Errors
    /// When it has ended already.
    pub async fn kill_supervisor(mut self) -> anyhow::Result<()> {
        self.up.start_kill()?;
        self.up.wait().await?;
        Ok(())
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let Some(pid) = self.up_pid() else { return };
        if kill_process(pid, Signal::TERM).is_err() {
            return;
        }
        let started = Instant::now();
        while started.elapsed() < STOP_DEADLINE && matches!(self.up.try_wait(), Ok(None)) {
            #[expect(clippy::disallowed_methods, reason = "a destructor cannot await")]
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn pid_in(data_dir: &Path, service: Service) -> anyhow::Result<Pid> {
    let file = data_dir.join("run").join(format!("{}.pid", service.name()));
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let number = text
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok());
    number
        .and_then(Pid::from_raw)
        .with_context(|| format!("{}: no process id", file.display()))
}
