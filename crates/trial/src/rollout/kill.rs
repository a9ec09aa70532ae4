//! Processes that die in the middle of a roll-out: a control plane between any two of its statements, gateways in every phase.
//!
//! A step is held by a trigger of the harness at a place of its choice, the process gets SIGKILL there, and only then is the
//! transaction let go: what it does without its client is PostgreSQL's business, as it would be in earnest.

use anyhow::ensure;
use rustix::process::Signal;
use sqlx::PgConnection;

use super::bundle::Bundle;
use super::operator::patiently;
use super::stage::Stage;
use super::store;
use crate::rotation::store::{hold, is_waited_for, let_go};

/// Where a control plane dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A statement is written down, and no roll-out of it.
    Stated,
    /// The roll-out is in its new phase, and nobody is assigned anything.
    Entered,
    /// The first gateway is assigned its policy.
    Told,
    /// All is done but the commit.
    Recorded,
    /// The commit has been asked for, and nobody has been told.
    Committing,
}

impl Step {
    /// The number of its lock, as the triggers know it.
    const fn lock(self) -> i64 {
        match self {
            Self::Stated => 7_401,
            Self::Entered => 7_402,
            Self::Told => 7_403,
            Self::Recorded => 7_404,
            Self::Committing => 7_405,
        }
    }
}

impl Stage {
    /// Starts the control plane, and kills it at this point of the next step that it takes by itself. After that the step has
    /// not happened at all, or, when it was committing, whole.
    ///
    /// # Errors
    /// When half of it has happened, or it never comes to that point.
    pub async fn revive_control_plane_to_kill_it_at(&mut self, step: Step) -> anyhow::Result<()> {
        let holder = self.hold(step).await?;
        self.revive_control_plane().await?;
        self.strike(holder, step).await
    }

    /// Makes the next step stand still at this point.
    async fn hold(&self, step: Step) -> anyhow::Result<PgConnection> {
        let mut holder = self.superuser().await?;
        hold(&mut holder, step.lock()).await?;
        Ok(holder)
    }

    async fn strike(&mut self, mut holder: PgConnection, step: Step) -> anyhow::Result<()> {
        let mut watcher = self.superuser().await?;
        patiently(&format!("a step comes to {step:?}"), async || {
            is_waited_for(&mut watcher, step.lock()).await.unwrap_or(false)
        })
        .await?;
        let before = store::stands(&mut watcher).await?;
        self.control_plane.kill().await?;
        let_go(&mut holder, step.lock()).await?;
        // The row that the step had locked is free again when what is left of it has ended.
        store::hold_the_fleet(&mut holder).await?;
        let after = store::stands(&mut watcher).await?;
        ensure!(
            (before == after) != (step == Step::Committing),
            "killed at {step:?}: {before:?}, then {after:?}"
        );
        Ok(())
    }

    /// Starts the control plane that was killed.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn revive_control_plane(&mut self) -> anyhow::Result<()> {
        self.control_plane.again().await
    }

    /// Kills a gateway, and starts it in the same place.
    ///
    /// # Errors
    /// When it does not serve again.
    pub async fn kill_gateway(&mut self, name: &str) -> anyhow::Result<()> {
        self.restart_gateway(name, Signal::KILL).await
    }

    /// Publishes, and kills the control plane at this point of it. Whoever published is told that it failed, also when it
    /// was done.
    ///
    /// # Errors
    /// See [`Stage::revive_control_plane_to_kill_it_at`].
    pub async fn kill_control_plane_while_publishing(
        &mut self,
        bundle: Bundle,
        change: &str,
        step: Step,
    ) -> anyhow::Result<()> {
        let words = self.publication(bundle, change, &[])?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.kill_control_plane_while(&words, step).await
    }

    /// The same while another command waits for it.
    ///
    /// # Errors
    /// See [`Stage::revive_control_plane_to_kill_it_at`].
    pub async fn kill_control_plane_while(&mut self, command: &[&str], step: Step) -> anyhow::Result<()> {
        let holder = self.hold(step).await?;
        let mut asking = self.begin(command)?;
        self.strike(holder, step).await?;
        let ended = asking.wait().await?;
        ensure!(!ended.success(), "an answer of a control plane that was killed");
        Ok(())
    }

    /// The phase of the newest roll-out, and the gateways that have its policy, as the database has it.
    ///
    /// # Errors
    /// When there is none.
    pub async fn stands(&self) -> anyhow::Result<(String, Vec<String>)> {
        let mut superuser = self.superuser().await?;
        let (phase, _) = store::stands(&mut superuser).await?;
        Ok((phase, store::holders(&mut superuser).await?))
    }
}
