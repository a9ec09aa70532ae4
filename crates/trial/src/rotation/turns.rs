//! What happens at the turns of a drill.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use tokio::time::{Instant, interval, sleep_until};

use super::drill::Turn;
use super::faults::{Failpoint, crash};
use super::operator::{self, Outcome};
use super::run::{LOOK, Run};
use super::store;
use crate::edge::eventually;

impl Run {
    /// Waits until it is time, and does what the turn says.
    pub(super) async fn turn(&mut self, turn: Turn, number: usize) -> anyhow::Result<String> {
        sleep_until(self.last_turn + self.every).await;
        self.last_turn = Instant::now();
        let control_plane = number % self.stage.control_planes.len();
        let said = match turn {
            Turn::Plain => self.rotate(control_plane).await?,
            Turn::TwoSchedulers => self.rotate_twice().await?,
            Turn::Crashes => self.crash_everywhere(control_plane).await?,
            Turn::CrashAfterCommit => {
                self.crash_at(control_plane, Failpoint::Committing).await?;
                "a control plane was killed after the commit".to_owned()
            }
            Turn::Stopped(time) => {
                self.rotate(control_plane).await?;
                self.stop_gateway(number, time).await?
            }
            Turn::DatabaseRestart => {
                self.rotate(control_plane).await?;
                self.stage.restart_database().await?;
                "PostgreSQL was restarted".to_owned()
            }
            Turn::DatabaseCrash => {
                self.rotate(control_plane).await?;
                self.stage.crash_database().await?;
                "a process of PostgreSQL was killed".to_owned()
            }
            Turn::GatewayCrashes => {
                self.kill_gateway_everywhere(number % self.stage.gateways.len(), control_plane)
                    .await?
            }
            Turn::GatewayAway => {
                self.turn_without_gateway(number % self.stage.gateways.len(), control_plane)
                    .await?
            }
            Turn::Revocation => self.revoke(control_plane).await?,
            Turn::Reinstatement => self.reinstate(control_plane).await?,
            Turn::UnknownKeys(rate, time) => self.storm(rate, time).await?,
            Turn::Rewrap(rows) => self.rewrap(control_plane, rows).await?,
            Turn::Outage(time) => self.outage(time).await?,
        };
        self.last_turn = Instant::now();
        self.thief.steal().await?;
        Ok(said)
    }

    /// Asks until the ring turns: a standby may be young for a moment, a gateway may not hold it yet, and a control plane may
    /// be gone.
    pub(super) async fn rotate(&self, control_plane: usize) -> anyhow::Result<String> {
        let socket = self.stage.socket(control_plane);
        let mut last = None;
        let turned = eventually("the ring turns", async || {
            let outcome = operator::rotate(&socket).await;
            let is_done = outcome.is_done();
            last = Some(outcome);
            is_done
        });
        turned.await.with_context(|| format!("{last:?}"))?;
        Ok("the ring turned".to_owned())
    }

    async fn rotate_twice(&self) -> anyhow::Result<String> {
        let (first, second) = (self.stage.socket(0), self.stage.socket(1));
        let mut outcomes = Vec::new();
        let turned = eventually("one of two schedulers turns the ring", async || {
            let (one, other) = tokio::join!(operator::rotate(&first), operator::rotate(&second));
            outcomes = vec![one, other];
            outcomes.iter().any(Outcome::is_done)
        });
        turned.await?;
        let done = outcomes.iter().filter(|outcome| outcome.is_done()).count();
        ensure!(
            done == 1,
            "two schedulers turned the ring {done} times: {outcomes:?}"
        );
        Ok("of two schedulers one turned the ring".to_owned())
    }

    async fn crash_at(&mut self, control_plane: usize, failpoint: Failpoint) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut ticks = interval(LOOK);
        while !crash(&mut self.stage, control_plane, failpoint).await? {
            ensure!(
                started.elapsed() < Duration::from_secs(60),
                "nothing came to {failpoint:?}"
            );
            ticks.tick().await;
        }
        self.crashes += 1;
        Ok(())
    }

    async fn crash_everywhere(&mut self, first: usize) -> anyhow::Result<String> {
        for (number, failpoint) in Failpoint::UNDONE.into_iter().enumerate() {
            let control_plane = (first + number) % self.stage.control_planes.len();
            self.crash_at(control_plane, failpoint).await?;
        }
        self.rotate(first).await?;
        Ok(format!(
            "a control plane was killed at each of {:?}; then the ring turned",
            Failpoint::UNDONE
        ))
    }

    async fn stop_gateway(&self, number: usize, time: Duration) -> anyhow::Result<String> {
        let index = number % self.stage.gateways.len().max(1);
        let gateway = self.stage.gateways.get(index).context("no gateway")?;
        gateway.signal(Signal::STOP)?;
        sleep_until(Instant::now() + time).await;
        gateway.signal(Signal::CONT)?;
        Ok(format!("gateway {index} stood still for {} s", time.as_secs()))
    }

    pub(super) async fn revoke(&self, control_plane: usize) -> anyhow::Result<String> {
        let mut superuser = self.stage.superuser().await?;
        let kid = store::active_key(&mut superuser).await?.kid;
        let outcome = operator::revoke(&self.stage.socket(control_plane), &kid).await;
        ensure!(outcome.is_done(), "{outcome:?}");
        Ok(format!("{kid} was revoked"))
    }

    /// Takes a rotation back at once. The key that was called back takes over by itself when every guard lets it.
    async fn reinstate(&mut self, control_plane: usize) -> anyhow::Result<String> {
        let mut superuser = self.stage.superuser().await?;
        let kid = store::active_key(&mut superuser).await?.kid;
        self.rotate(control_plane).await?;
        let keys = store::keys(&mut superuser).await?;
        let before = keys.into_iter().find(|key| key.kid == kid);
        self.called_back.push(before.context("the key is gone")?);
        let outcome = operator::reinstate(&self.stage.socket(control_plane), &kid).await;
        ensure!(outcome.is_done(), "{outcome:?}");
        eventually("the key that was called back signs", async || {
            let Ok(mut superuser) = self.stage.superuser().await else {
                return false;
            };
            let active = store::active_key(&mut superuser).await;
            active.is_ok_and(|active| active.kid == kid)
        })
        .await?;
        Ok(format!("the ring turned, {kid} was called back and signs again"))
    }
}
