//! A control plane or an issuer as a child process, which is killed and started again in the same place.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::clock::Offset;
use crate::edge::eventually;

/// How long one question about readiness may take.
const QUESTION: Duration = Duration::from_secs(2);

/// What is started.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    /// The portico binary.
    pub(crate) binary: PathBuf,
    /// Its subcommand.
    pub(crate) command: &'static str,
    /// What its files are called.
    pub(crate) name: String,
    /// Where they are.
    pub(crate) directory: PathBuf,
    /// How wrong its clock is.
    pub(crate) clock: Offset,
    /// Words before the program, such as `ip netns exec NAME`.
    pub(crate) inside: Vec<String>,
}

/// A running process. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Service {
    start: Start,
    child: Child,
}

impl Start {
    fn file(&self, ending: &str) -> PathBuf {
        self.directory.join(format!("{}.{ending}", self.name))
    }

    /// Where it says on which address it listens.
    pub(super) fn endpoints(&self) -> PathBuf {
        self.file("json")
    }

    /// Writes the settings; what every process has is added, the private listener on loopback unless they name another one.
    pub(crate) fn write_settings(&self, mut settings: Value) -> anyhow::Result<()> {
        let members = settings.as_object_mut().context("settings are a mapping")?;
        members
            .entry("private_listen")
            .or_insert_with(|| "127.0.0.1:0".into());
        members.insert(
            "endpoints_file".to_owned(),
            self.endpoints().display().to_string().into(),
        );
        // JSON is YAML.
        Ok(fs::write(self.file("yaml"), settings.to_string())?)
    }
}

impl Service {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it ends instead; its log is part of the error.
    pub(crate) async fn start(start: Start) -> anyhow::Result<Self> {
        let child = spawn(&start)?;
        let mut service = Self { start, child };
        service.ready().await?;
        Ok(service)
    }

    /// Kills it as the kernel would: at once.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Starts it in the place of one that has ended, and waits until it is ready.
    pub(crate) async fn again(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.start)?;
        self.ready().await
    }

    /// The sum of its metrics whose line begins so and has this in it.
    pub(crate) async fn sum(&self, beginning: &str, part: &str) -> anyhow::Result<usize> {
        let endpoints = self.start.endpoints();
        let address = private_address(&endpoints).with_context(|| endpoints.display().to_string())?;
        let client = reqwest::Client::builder().timeout(QUESTION).no_proxy().build()?;
        let answer = client.get(format!("http://{address}/metrics")).send().await?;
        let metrics = answer.text().await?;
        let counts = metrics
            .lines()
            .filter(|line| line.starts_with(beginning) && line.contains(part))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
        Ok(counts.sum())
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let endpoints = self.start.endpoints();
        let client = reqwest::Client::builder().timeout(QUESTION).no_proxy().build()?;
        let child = &mut self.child;
        let mut ended = None;
        eventually(&format!("{} is ready", self.start.name), async || {
            ended = child.try_wait().ok().flatten();
            ended.is_some() || is_ready(&client, &endpoints).await
        })
        .await?;
        match ended {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended with {status}:\n{}",
                self.start.name,
                fs::read_to_string(self.start.file("log"))?
            ),
        }
    }
}

fn spawn(start: &Start) -> anyhow::Result<Child> {
    drop(fs::remove_file(start.endpoints()));
    let log = File::options()
        .create(true)
        .append(true)
        .open(start.file("log"))?;
    let program = start.binary.as_os_str().to_owned();
    let mut words = start
        .inside
        .iter()
        .cloned()
        .chain(start.clock.wrapper()?)
        .map(Into::into)
        .chain([program]);
    Command::new(words.next().context("no program")?)
        .args(words)
        .args([start.command, "--settings"])
        .arg(start.file("yaml"))
        .env("APP_ENV", "test")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", start.name))
}

fn private_address(endpoints: &Path) -> Option<String> {
    let told: Value = serde_json::from_slice(&fs::read(endpoints).ok()?).ok()?;
    Some(told.get("private")?.as_str()?.to_owned())
}

async fn is_ready(client: &reqwest::Client, endpoints: &Path) -> bool {
    let Some(address) = private_address(endpoints) else {
        return false;
    };
    let answer = client.get(format!("http://{address}/health/ready")).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}
