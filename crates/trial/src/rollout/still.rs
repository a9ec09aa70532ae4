//! Gateways that time plays tricks on: one that stood still, and one whose clock is wrong.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::operator::patiently;
use super::stage::Stage;
use crate::edge::Gateway;
use crate::rotation::clock::ClockFile;

/// Connections that are open when a gateway is stopped.
const CONNECTIONS: usize = 8;
/// A gateway that was stopped for so long notices it.
const NOTICED: Duration = Duration::from_millis(1_500);

impl Stage {
    /// A gateway.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn gateway(&self, name: &str) -> anyhow::Result<&Gateway> {
        let (_, gateway) = self.gateways.get(self.index(name)?).context("no gateway")?;
        Ok(gateway)
    }

    /// Stops a gateway with SIGSTOP, blocks a network of clients meanwhile, and lets it go on. Gives the statuses of its first
    /// answers: to requests that waited for it on connections from before.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn block_while_still(&self, name: &str, network: &str) -> anyhow::Result<Vec<u16>> {
        let door = self.door(name)?;
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut connection = door.connect(0).await?;
            let before = connection.get("/fast").await?;
            ensure!(before.status == 200, "{before:?}");
            open.push(connection);
        }
        let gateway = self.gateway(name)?;
        let stated = self.head("blocks").await?;
        gateway.signal(Signal::STOP)?;
        let stopped = Instant::now();
        let block = ["block", "add", network, "--for", "10m", "--reason", "a drill"];
        self.ask(&block).await?.done()?;
        for connection in &mut open {
            connection.ask("/fast").await?;
        }
        patiently(
            "the block is stated, and the gateway has stood still",
            async || {
                let is_stated = self.head("blocks").await.is_ok_and(|head| head != stated);
                is_stated && stopped.elapsed() > NOTICED
            },
        )
        .await?;
        gateway.signal(Signal::CONT)?;
        let mut first = Vec::new();
        for connection in &mut open {
            first.push(connection.answered().await?.status);
        }
        Ok(first)
    }

    /// Starts a gateway anew with a clock that a file sets.
    ///
    /// # Errors
    /// When libfaketime is not installed, or it does not serve again.
    pub async fn restart_with_clock(&mut self, name: &str) -> anyhow::Result<ClockFile> {
        let clock = ClockFile::right(self.file(&format!("{name}.clock")))?;
        self.restart_under(name, Signal::TERM, &clock.wrapper()?).await?;
        Ok(clock)
    }

    /// Kills the control plane.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn kill_control_plane(&mut self) -> anyhow::Result<()> {
        self.control_plane.kill().await
    }

    /// Waits until a gateway says of its clock what is wanted, and gives what it said of its readiness.
    ///
    /// # Errors
    /// When it never does.
    pub async fn clock_is(&self, name: &str, is_right: bool) -> anyhow::Result<(u16, Value)> {
        let mut last = (0, Value::Null);
        patiently(&format!("the clock of {name} is noticed"), async || {
            last = self.gateway_readiness(name).await.unwrap_or_default();
            last.1
                .pointer("/checks/clock")
                .is_some_and(|said| (said == "ok") == is_right)
        })
        .await
        .with_context(|| format!("{last:?}"))?;
        Ok(last)
    }

    async fn gateway_readiness(&self, name: &str) -> anyhow::Result<(u16, Value)> {
        self.gateway(name)?.readiness().await
    }
}
