//! A gateway that gets SIGKILL at each step of a rotation, and comes back in the same place; and one that is away while the ring
//! turns on.
//!
//! The step is held by a trigger of the harness, in the transaction of the control plane that takes it or writes down what the
//! gateway has said of it, until the gateway is dead.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use tokio::time::Instant;

use super::clock::now;
use super::evidence::{Absence, Micros, Target};
use super::operator;
use super::processes::node;
use super::run::Run;
use super::store;
use crate::edge::eventually;

/// A gateway that is not heard for so long is waited for no more.
const DEAD_AFTER: Duration = Duration::from_secs(15);
/// So often a gateway speaks: its last word may be as old as that when it dies.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// What a gateway said before its death may be heard so much later, on a machine that is slow.
const HEARD_LATE: Duration = Duration::from_secs(10);
/// So many answers of a gateway that has come back are asked for at once, before any other client may come by.
const FIRST_ANSWERS: usize = 20;

/// Where a gateway dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// The next standby is published, and nothing is committed.
    Published,
    /// The barrier has let the rotation pass, and the new key is active; nothing is committed.
    Activated,
    /// The commit has been asked for, and no gateway has been told.
    Committing,
    /// It has said that it has the bytes of the new key set; that is not written down.
    Received,
    /// It has said that the new key set is in force; that is not written down.
    InForce,
    /// It has said that the new key set is on its disk: what it said before counts.
    Acknowledged,
    /// An old key is retired, and that is not committed.
    Retired,
    /// The active key is revoked, and that is not committed.
    Revoked,
}

impl Moment {
    pub(super) const ALL: [Self; 8] = [
        Self::Published,
        Self::Activated,
        Self::Committing,
        Self::Received,
        Self::InForce,
        Self::Acknowledged,
        Self::Retired,
        Self::Revoked,
    ];

    /// The number of its lock, as the triggers know it; what a gateway says has one for each gateway.
    fn lock(self, gateway: usize) -> anyhow::Result<i64> {
        let of_gateway = 10 * i64::try_from(gateway)?;
        Ok(match self {
            Self::Published => 7_306,
            Self::Activated => 7_303,
            Self::Committing => 7_305,
            Self::Received => 7_501 + of_gateway,
            Self::InForce => 7_502 + of_gateway,
            Self::Acknowledged => 7_503 + of_gateway,
            Self::Retired => 7_307,
            Self::Revoked => 7_308,
        })
    }
}

impl Run {
    /// Kills a gateway at every step.
    pub(super) async fn kill_gateway_everywhere(
        &mut self,
        gateway: usize,
        first: usize,
    ) -> anyhow::Result<String> {
        for (number, moment) in Moment::ALL.into_iter().enumerate() {
            let control_plane = (first + number) % self.stage.control_planes.len();
            self.kill_gateway_at(gateway, control_plane, moment)
                .await
                .with_context(|| format!("{moment:?}"))?;
            self.thief.steal().await?;
        }
        Ok(format!(
            "gateway {gateway} was killed at each of {:?}",
            Moment::ALL
        ))
    }

    async fn kill_gateway_at(
        &mut self,
        gateway: usize,
        control_plane: usize,
        moment: Moment,
    ) -> anyhow::Result<()> {
        let (mut holder, mut watcher) = (self.stage.superuser().await?, self.stage.superuser().await?);
        let lock = moment.lock(gateway)?;
        store::hold(&mut holder, lock).await?;
        let killing = async {
            eventually("a transaction comes to this step", async || {
                store::is_waited_for(&mut watcher, lock).await.unwrap_or(false)
            })
            .await?;
            let from = now();
            self.stage.gateway(gateway)?.signal(Signal::KILL)?;
            store::let_go(&mut holder, lock).await?;
            anyhow::Ok(from)
        };
        let turning = async {
            match moment {
                Moment::Revoked => self.revoke(control_plane).await.map(drop),
                _ => self.rotate(control_plane).await.map(drop),
            }
        };
        let (from, ()) = tokio::try_join!(killing, turning)?;
        self.return_gateway(gateway, from).await
    }

    /// Kills a gateway and lets the ring turn three times without it: by a rotation that it has heard of, by the revocation of
    /// the key that it takes for the standby, and by a rotation that waits until it counts as dead. Then it comes back.
    pub(super) async fn turn_without_gateway(
        &mut self,
        gateway: usize,
        control_plane: usize,
    ) -> anyhow::Result<String> {
        let (from, began) = (now(), Instant::now());
        self.stage.gateway(gateway)?.signal(Signal::KILL)?;
        // First what waits for nobody: later the key that takes over is so young that others may not hold it yet.
        self.revoke(control_plane).await?;
        self.thief.steal().await?;
        let (socket, name) = (self.stage.socket(control_plane), node(gateway));
        // When it was asked, counted from the death, and whether the dead was waited for: how long the others take is not judged.
        let (mut asked, mut last) = (Vec::new(), None);
        eventually("the ring turns without the gateway", async || {
            let at = began.elapsed();
            let outcome = operator::rotate(&socket).await;
            asked.push((at, outcome.waits_for(&name)));
            let is_done = outcome.is_done();
            last = Some(outcome);
            is_done
        })
        .await
        .with_context(|| format!("{last:?}"))?;
        let turned = asked.last().map_or(Duration::ZERO, |(at, _)| *at);
        let waits = asked.iter().filter(|(_, is_waited_for)| *is_waited_for);
        let waited = waits.map(|(at, _)| *at).max();
        ensure!(
            waited.is_some() || turned > DEAD_AFTER - HEARTBEAT,
            "nobody waited for a gateway that had just died"
        );
        let waited = waited.unwrap_or_default();
        ensure!(
            waited < DEAD_AFTER + HEARD_LATE,
            "a gateway that was dead was waited for after {} ms",
            waited.as_millis()
        );
        self.thief.steal().await?;
        self.rotate(control_plane).await?;
        self.return_gateway(gateway, from).await?;
        Ok(format!(
            "gateway {gateway} was killed, and waited for until {} ms after its death; the ring turned three times without it",
            waited.as_millis()
        ))
    }

    /// Starts a gateway that was killed, in the same place. Somebody is at its door before it opens.
    async fn return_gateway(&mut self, gateway: usize, from: Micros) -> anyhow::Result<()> {
        self.stage.bury_gateway(gateway).await?;
        self.absences.push(Absence {
            gateway,
            from,
            to: now(),
        });
        let mut visitor = self.client(gateway)?;
        let pool = self.pool.clone();
        let visiting = async {
            let mut seen = Vec::new();
            eventually("a gateway answers that was killed", async || {
                if let Some(newest) = pool.newest() {
                    seen.push(visitor.show(&newest, Target::Gateway).await);
                }
                seen.iter().filter(|request| request.status != 0).count() >= FIRST_ANSWERS
            })
            .await?;
            anyhow::Ok(seen)
        };
        let ((), seen) = tokio::try_join!(self.stage.revive_gateway(gateway), visiting)?;
        self.visits.extend(seen);
        Ok(())
    }
}
