//! Gateways without their control plane, and gateways that are killed while they take a policy over.

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
use crate::edge::{HOST, Load, Tally};

const PASSWORD: &str = "correct horse battery staple";
const EMAIL: &str = "customer@example.com";

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

/// What clients saw while the control plane was away.
#[derive(Debug)]
pub(super) struct Outage {
    pub(super) load: Tally,
    pub(super) log_ins: usize,
    pub(super) log_ins_failed: usize,
    pub(super) restarts: usize,
    pub(super) lasted: Duration,
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

    /// Takes the control plane away while clients ask and log in, and every gateway is restarted in order.
    pub(super) async fn outage(
        &mut self,
        rate: u32,
        connections: u32,
        time: Duration,
    ) -> anyhow::Result<Outage> {
        let body = json!({ "email": EMAIL, "password": PASSWORD, "full_name": "Ada Byron" });
        ensure!(self.post("register", &body).await? == 202, "registration");
        self.control_plane.kill().await?;
        let began = Instant::now();
        let load = Load::start(&self.every_door()?, "/fast", rate, connections);
        let (mut log_ins, mut log_ins_failed, mut restarts) = (0, 0, 0);
        while began.elapsed() < time || restarts < self.gateways.len() {
            let name = self.names().into_iter().nth(restarts % self.gateways.len());
            if restarts < self.gateways.len() {
                self.restart_gateway(&name.context("no gateway")?, Signal::TERM)
                    .await?;
                restarts += 1;
            }
            let body = json!({ "email": EMAIL, "password": PASSWORD });
            log_ins += 1;
            log_ins_failed += usize::from(self.post("login", &body).await.ok() != Some(200));
            sleep_until(Instant::now() + Duration::from_millis(200)).await;
        }
        let load = load.stop().await;
        let lasted = began.elapsed();
        self.control_plane.again().await?;
        self.all_the_same().await?;
        Ok(Outage {
            load,
            log_ins,
            log_ins_failed,
            restarts,
            lasted,
        })
    }

    async fn post(&self, what: &str, body: &Value) -> anyhow::Result<u16> {
        let body = body.to_string();
        let request = format!(
            "POST /api/v1/auth/{what} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(self.every_door()?.connect(0).await?.send(&request).await?.status)
    }
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
