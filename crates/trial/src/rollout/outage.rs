//! Gateways without their control plane, and gateways that are killed while they take a policy over.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::{Instant, interval, sleep_until};

use super::bundle::Bundle;
use super::operator::patiently;
use super::stage::Stage;
use crate::edge::{Door, HOST, Load, Tally};

const PASSWORD: &str = "correct horse battery staple";
const EMAIL: &str = "customer@example.com";
/// Fewer requests to it would show little.
const LEAST_ASKED: usize = 10;
/// A gateway that the control plane has never heard of before it is away.
const NEWCOMER: &str = "newcomer";

/// Where a gateway dies while it takes a policy over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// The envelope is on the disk.
    Written,
    /// How far it has come is on the disk.
    Reached,
    /// The policy is in force.
    InForce,
    /// It is proven: a restart would begin with it.
    Proven,
}

impl Moment {
    pub(super) const ALL: [Self; 4] = [Self::Written, Self::Reached, Self::InForce, Self::Proven];
}

/// What is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Away {
    /// The control plane.
    ControlPlane,
    /// The core as well, which is in the path of requests: people cannot log in.
    CoreAsWell,
}

/// What clients saw while the control plane was away.
#[derive(Debug)]
pub struct Outage {
    load: Tally,
    log_ins: Count,
    /// How many gateways were restarted meanwhile.
    pub restarts: usize,
    /// Requests to the gateway that joined meanwhile; those fail that are not answered by the policy in force.
    to_newcomer: Count,
    /// How long it was away.
    pub lasted: Duration,
}

/// How often something was asked for, and did not come.
#[derive(Debug, Default)]
pub(super) struct Count {
    asked: usize,
    failed: usize,
    /// What became of the first that failed.
    first: Option<String>,
}

impl Count {
    fn note(&mut self, answer: Result<(), String>) {
        self.asked += 1;
        if let Err(what) = answer {
            self.failed += 1;
            self.first.get_or_insert(what);
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.failed, self.asked)?;
        match &self.first {
            Some(what) => write!(f, " (the first: {what})"),
            None => Ok(()),
        }
    }
}

impl Outage {
    /// Everything that was asked for and did not come.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.load.failures() + self.log_ins.failed + self.to_newcomer.failed
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} requests, {} log-ins, {} requests to the new gateway",
            self.load.failures(),
            self.load.sent,
            self.log_ins,
            self.to_newcomer
        )?;
        for (reason, count) in &self.load.failed {
            write!(f, "; {count} requests: {reason}")?;
        }
        Ok(())
    }
}

impl Stage {
    /// Publishes a policy and kills a gateway at this moment of taking it over. It must come back with the policy before or
    /// this one, and the roll-out must go on by itself.
    pub(super) async fn kill_gateway_while_taking_over(
        &mut self,
        node: &str,
        moment: Moment,
        generation: usize,
    ) -> anyhow::Result<()> {
        let change = format!("swap-{generation}");
        let folder = self.site.path(node).join("fleet");
        let (probation, healthy) = (
            folder.join("policy/probation.json"),
            folder.join("policy/healthy.json"),
        );
        let (was_written, was_reached, was_healthy) = (
            inode(&probation),
            inode(&folder.join("state.json")),
            inode(&healthy),
        );
        self.publish(Bundle::good(generation), &change, &["--at-once"])
            .await?
            .done()?;
        match moment {
            Moment::Written => replaced(&probation, was_written).await?,
            Moment::Reached => replaced(&folder.join("state.json"), was_reached).await?,
            Moment::InForce => {
                patiently("the policy is in force", async || {
                    self.generation(node)
                        .await
                        .is_ok_and(|found| found == generation.to_string())
                })
                .await?;
            }
            Moment::Proven => replaced(&healthy, was_healthy).await?,
        }
        self.restart_gateway(node, Signal::KILL).await?;
        let found: usize = self.generation(node).await?.parse()?;
        ensure!(
            [generation - 1, generation].contains(&found),
            "{node} begins with generation {found} after it was killed at {moment:?} of {generation}"
        );
        let ended = self.ended(&change).await?;
        ensure!(ended.get("phase") == Some(&"done".into()), "{ended}");
        self.all_the_same().await.map(drop)
    }

    /// Kills every gateway without a control plane, and starts it: how long each took until it answered a request.
    pub(super) async fn start_from_disk(&mut self) -> anyhow::Result<Vec<u128>> {
        self.control_plane.kill().await?;
        let mut took = Vec::new();
        for name in self.names() {
            let began = Instant::now();
            // The end of the old process is in it.
            self.restart_gateway(&name, Signal::KILL).await?;
            self.generation(&name).await?;
            took.push(began.elapsed().as_millis());
        }
        self.control_plane.again().await?;
        Ok(took)
    }

    /// Takes the control plane away while clients ask and log in, every gateway is restarted in order, and another one joins
    /// with what was exported before.
    ///
    /// # Errors
    /// When a gateway does not serve again, or the fleet does not come together afterwards.
    pub async fn outage(
        &mut self,
        away: Away,
        (rate, connections): (u32, u32),
        time: Duration,
    ) -> anyhow::Result<Outage> {
        let body = json!({ "email": EMAIL, "password": PASSWORD, "full_name": "Ada Byron" });
        let every_door = self.every_door()?;
        ensure!(post(&every_door, "register", &body).await? == 202, "registration");
        let names = self.names();
        let generation = self.generation(names.first().context("no gateway")?).await?;
        let begin_with = self.file("begin.json");
        std::fs::write(&begin_with, self.ask(&["fleet", "export"]).await?.done()?)?;
        self.control_plane.kill().await?;
        if away == Away::CoreAsWell {
            self.issuer.as_mut().context("no core")?.kill().await?;
        }
        let began = Instant::now();
        let load = Load::start(&every_door, "/fast", rate, connections);
        let (mut log_ins, mut to_newcomer) = (Count::default(), Count::default());
        for name in &names {
            self.restart_gateway(name, Signal::TERM).await?;
            log_ins.note(logs_in(&every_door).await);
        }
        self.start_gateway(NEWCOMER, Some(&begin_with)).await?;
        let door = self.door(NEWCOMER)?;
        while began.elapsed() < time || to_newcomer.asked < LEAST_ASKED {
            log_ins.note(logs_in(&every_door).await);
            log_ins.note(logs_in(&door).await);
            to_newcomer.note(match self.generation(NEWCOMER).await {
                Ok(found) if found == generation => Ok(()),
                Ok(found) => Err(format!("generation {found}")),
                Err(error) => Err(format!("{error:#}")),
            });
            sleep_until(Instant::now() + Duration::from_millis(200)).await;
        }
        let load = load.stop().await;
        let lasted = began.elapsed();
        self.control_plane.again().await?;
        self.all_the_same().await?;
        Ok(Outage {
            load,
            log_ins,
            restarts: names.len(),
            to_newcomer,
            lasted,
        })
    }
}

async fn logs_in(door: &Door) -> Result<(), String> {
    let body = json!({ "email": EMAIL, "password": PASSWORD });
    match post(door, "login", &body).await {
        Ok(200) => Ok(()),
        Ok(status) => Err(format!("status {status}")),
        Err(error) => Err(format!("{error:#}")),
    }
}

async fn post(door: &Door, what: &str, body: &Value) -> anyhow::Result<u16> {
    let body = body.to_string();
    let request = format!(
        "POST /api/v1/auth/{what} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Ok(door.connect(0).await?.send(&request).await?.status)
}

/// A file that is replaced is another one.
fn inode(file: &Path) -> Option<u64> {
    Some(std::fs::metadata(file).ok()?.ino())
}

/// Looks as often as it can: what follows is to hit a moment.
async fn replaced(file: &Path, before: Option<u64>) -> anyhow::Result<()> {
    let mut looks = interval(Duration::from_millis(1));
    let began = Instant::now();
    while inode(file).is_none_or(|now| Some(now) == before) {
        ensure!(
            began.elapsed() < Duration::from_secs(600),
            "never: {} is replaced",
            file.display()
        );
        looks.tick().await;
    }
    Ok(())
}
