//! A control plane that dies in the middle of a rotation, between any two of its statements.
//!
//! The transition is held by a trigger of the harness at a place of its choice, the process gets SIGKILL there, and only then
//! is the transaction let go: what it does without its client is PostgreSQL's business, as it would be in earnest.

use std::pin::pin;

use anyhow::{Context as _, ensure};
use tokio::time::{MissedTickBehavior, interval};

use super::operator::{self, Outcome};
use super::stage::Stage;
use super::store;

/// Where a control plane dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failpoint {
    /// The new standby's row is inserted.
    Inserted,
    /// The new standby is published.
    Published,
    /// The old key is retiring, and none is active.
    Retiring,
    /// The new key is active.
    Activated,
    /// All is done but the commit.
    Raised,
    /// The commit has been asked for, and nobody has been told.
    Committing,
}

impl Failpoint {
    /// Those after which the rotation has not happened.
    pub const UNDONE: [Self; 5] = [
        Self::Inserted,
        Self::Published,
        Self::Retiring,
        Self::Activated,
        Self::Raised,
    ];

    /// The number of its lock, as the triggers know it.
    const fn lock(self) -> i64 {
        match self {
            Self::Inserted => 7_301,
            Self::Retiring => 7_302,
            Self::Activated => 7_303,
            Self::Raised => 7_304,
            Self::Committing => 7_305,
            Self::Published => 7_306,
        }
    }
}

/// Kills a control plane at a failpoint of a rotation, starts it again, and shows that the ring is as it was before, or as it
/// is after. Returns false when nothing came to the failpoint, because the rotation was refused or took too long.
///
/// # Errors
/// When the ring is something else.
pub(super) async fn crash(
    stage: &mut Stage,
    control_plane: usize,
    failpoint: Failpoint,
) -> anyhow::Result<bool> {
    let mut superuser = stage.superuser().await?;
    let mut watcher = stage.superuser().await?;
    let before = store::active_key(&mut watcher).await?.kid;
    store::hold(&mut superuser, failpoint.lock()).await?;

    let socket = stage.socket(control_plane);
    let mut rotation = pin!(operator::rotate(&socket));
    let mut ticks = interval(std::time::Duration::from_millis(5));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let is_there = loop {
        tokio::select! {
            outcome = &mut rotation => {
                ensure!(!outcome.is_done(), "a rotation went past {failpoint:?}");
                break false;
            }
            _ = ticks.tick() => if store::is_waited_for(&mut watcher, failpoint.lock()).await? {
                break true;
            }
        }
    };
    if !is_there {
        store::let_go(&mut superuser, failpoint.lock()).await?;
        return Ok(false);
    }
    let service = stage
        .control_planes
        .get_mut(control_plane)
        .context("no such control plane")?;
    service.kill().await?;
    store::let_go(&mut superuser, failpoint.lock()).await?;
    ensure!(
        matches!(rotation.await, Outcome::Silence(_)),
        "an answer came from a process that was killed at {failpoint:?}"
    );
    service.again().await?;
    if failpoint == Failpoint::Committing {
        store::wait_for_the_ring(&mut watcher).await?;
        // On a slow machine the commit itself is cancelled for taking too long: then nothing has happened.
        return Ok(store::active_key(&mut watcher).await?.kid != before);
    }
    Ok(true)
}
