//! What an operator does: commands, and questions that are asked again until the answer is there.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::bundle::Bundle;
use super::stage::Stage;

/// Whatever is waited for is there long before, also on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(60);

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its exit code; none when it was killed.
    pub code: Option<i32>,
    /// What it printed.
    pub text: String,
    /// What it complained of.
    pub fault: String,
}

impl Said {
    /// What it printed, when it ended well.
    ///
    /// # Errors
    /// When it did not.
    pub fn done(self) -> anyhow::Result<String> {
        ensure!(
            self.code == Some(0),
            "{:?}: {}{}",
            self.code,
            self.text,
            self.fault
        );
        Ok(self.text)
    }

    /// The JSON that it printed, whatever its exit code.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.text).with_context(|| format!("{}{}", self.text, self.fault))
    }
}

/// Runs a command of the binary.
pub(crate) async fn words(binary: &Path, words: &[&str]) -> anyhow::Result<Said> {
    let output = Command::new(binary)
        .args(words)
        .env("APP_ENV", "test")
        .output()
        .await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said {
        code: output.status.code(),
        text: text(&output.stdout),
        fault: text(&output.stderr),
    })
}

/// Waits until something holds.
///
/// # Errors
/// When it does not within ten minutes.
pub async fn patiently(what: &str, mut holds: impl AsyncFnMut() -> bool) -> anyhow::Result<()> {
    let waiting = async {
        let mut ticks = interval(Duration::from_millis(50));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if holds().await {
                return;
            }
        }
    };
    timeout(PATIENCE, waiting)
        .await
        .with_context(|| format!("never: {what}"))
}

/// How many gateways have had the policy of a roll-out, as `policy status` tells of it.
#[must_use]
pub fn touched(rollout: &Value) -> usize {
    let gateways = rollout.get("gateways").and_then(Value::as_array);
    let has_had_it = |gateway: &&Value| gateway.get("in_group") == Some(&true.into());
    gateways.into_iter().flatten().filter(has_had_it).count()
}

impl Stage {
    /// The directory of the policy that is published next.
    #[must_use]
    pub fn policies(&self) -> String {
        self.site.path("policies").display().to_string()
    }

    /// Runs a command that asks the control plane.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn ask(&self, command: &[&str]) -> anyhow::Result<Said> {
        let settings = self.settings().display().to_string();
        words(
            &self.members.binary,
            &[command, &["--settings", &settings]].concat(),
        )
        .await
    }

    pub(super) fn publication(
        &self,
        bundle: Bundle,
        change: &str,
        more: &[&str],
    ) -> anyhow::Result<Vec<String>> {
        self.site.write(
            "policies/edge.yaml",
            &bundle.text(self.upstream.address(), self.slow_upstream.address()),
        )?;
        let policies = self.policies();
        let key = self.file("ada.pem").display().to_string();
        let words = [
            "policy",
            "publish",
            &policies,
            "--environment",
            "test",
            "--change-id",
            change,
            "--author",
            "ada",
            "--key",
            &key,
        ];
        let words = words.iter().chain(more).map(|&word| word.to_owned());
        Ok(words.collect())
    }

    /// Publishes a policy as ada, who signs.
    ///
    /// # Errors
    /// When the command cannot be started.
    pub async fn publish(&self, bundle: Bundle, change: &str, more: &[&str]) -> anyhow::Result<Said> {
        let words = self.publication(bundle, change, more)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.ask(&words).await
    }

    /// A command as a process that may be waiting when the control plane dies.
    pub(super) fn begin(&self, command: &[&str]) -> anyhow::Result<Child> {
        Ok(Command::new(&self.members.binary)
            .args(command)
            .arg("--settings")
            .arg(self.settings())
            .env("APP_ENV", "test")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?)
    }

    /// Somebody agrees with a key to what lies there now; gives the file of it.
    ///
    /// # Errors
    /// When the command refuses.
    pub async fn approve(&self, change: &str, approver: &str, key: &str) -> anyhow::Result<String> {
        let policies = self.policies();
        let key = self.file(&format!("{key}.pem")).display().to_string();
        let command = [
            "policy",
            "approve",
            &policies,
            "--environment",
            "test",
            "--change-id",
            change,
            "--author",
            "ada",
            "--approver",
            approver,
            "--key",
            &key,
        ];
        let file = self.file(&format!("{change}-{approver}.json"));
        std::fs::write(&file, words(&self.members.binary, &command).await?.done()?)?;
        Ok(file.display().to_string())
    }

    /// The first policy goes out before there is a gateway: it is in force for the first that comes.
    pub(super) async fn publish_first(&self) -> anyhow::Result<()> {
        let approval = self.approve("first", "grace", "grace").await?;
        self.publish(Bundle::good(0), "first", &["--approval", &approval])
            .await?
            .done()?;
        let ended = self.ended("first").await?;
        ensure!(ended.get("phase") == Some(&"done".into()), "{ended}");
        Ok(())
    }

    /// Asks the control plane as the command line does; none while it is away.
    pub(super) async fn answer(&self, path: &str) -> Option<Value> {
        let client = reqwest::Client::builder()
            .unix_socket(self.socket())
            .timeout(ANSWER)
            .no_proxy()
            .build()
            .ok()?;
        let answer = client.get(format!("http://control-plane{path}")).send().await;
        answer.ok()?.error_for_status().ok()?.json().await.ok()
    }

    /// Waits until a change is the newest roll-out, and something holds of it; gives it.
    ///
    /// # Errors
    /// When it never does; how it stands then is part of the error.
    pub async fn until(&self, change: &str, holds: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let mut last = Value::Null;
        let what = format!("the roll-out of {change} is there");
        let waited = patiently(&what, async || {
            let status = self.answer("/internal/policies/status").await;
            let rollout = status.and_then(|status| status.get("rollout").cloned());
            last = rollout.unwrap_or_default();
            last.get("change_id").and_then(Value::as_str) == Some(change) && holds(&last)
        });
        waited
            .await
            .with_context(|| format!("{last}\n{}", self.control_plane_log().unwrap_or_default()))?;
        Ok(last)
    }

    /// Waits until the roll-out of a change is over; gives it.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn ended(&self, change: &str) -> anyhow::Result<Value> {
        self.until(change, |rollout| {
            matches!(
                rollout.get("phase").and_then(Value::as_str),
                Some("done" | "halted")
            )
        })
        .await
    }

    /// Waits until every gateway has in memory what it should have, by its own word; gives the position.
    ///
    /// # Errors
    /// When one never has.
    pub async fn all_the_same(&self) -> anyhow::Result<String> {
        let mut last = Value::Null;
        let waited = patiently("every gateway has in memory what it should have", async || {
            last = self.answer("/internal/policies/drift").await.unwrap_or_default();
            let gateways = last.get("gateways").and_then(Value::as_array);
            let is_same = |gateway: &Value| gateway.get("state") == Some(&"same".into());
            gateways
                .is_some_and(|gateways| gateways.len() == self.gateways.len() && gateways.iter().all(is_same))
        });
        waited.await.with_context(|| last.to_string())?;
        let active = last.pointer("/gateways/0/active").and_then(Value::as_str);
        Ok(active.context("no position")?.to_owned())
    }

    /// Waits until every gateway answers with this generation.
    ///
    /// # Errors
    /// When one never does.
    pub async fn every_gateway_runs(&self, generation: usize) -> anyhow::Result<()> {
        for name in self.names() {
            patiently(&format!("{name} runs generation {generation}"), async || {
                self.generation(&name)
                    .await
                    .is_ok_and(|found| found == generation.to_string())
            })
            .await?;
        }
        Ok(())
    }

    /// The generation of the policy that a gateway answers with, whatever it answers.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn generation(&self, name: &str) -> anyhow::Result<String> {
        let answer = self.door(name)?.connect(0).await?.get("/fast").await?;
        let mut lines = answer.text.lines();
        let found = lines.find_map(|line| {
            let (header, value) = line.split_once(':')?;
            header
                .eq_ignore_ascii_case("x-generation")
                .then(|| value.trim().to_owned())
        });
        found.with_context(|| format!("{name} answers {}", answer.text))
    }
}
