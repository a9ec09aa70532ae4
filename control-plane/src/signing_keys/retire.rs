//! Background work on the ring: it is completed, keys that are due are retired, private parts that are due destroyed.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::error::KeyError;
use super::initialise::complete_ring;
use super::{ACCESS_RING, metrics, store};
use crate::extract::Actor;
use crate::state::AppState;

/// What one round of maintenance did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Maintenance {
    /// Keys that were retired.
    pub(super) retired: Vec<String>,
    /// Retiring keys whose private part was destroyed.
    pub(super) destroyed: Vec<String>,
}

/// Works until shutdown, once now and then at every interval. Several instances are harmless: each round is a transaction
/// of compare-and-set statements under the lock of the ring.
pub(crate) async fn maintain(state: AppState, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = state.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = run_round(&state).await {
            tracing::warn!(error = %error, cause = ?error, "signing-key maintenance failed; it is tried again");
        }
    }
}

async fn run_round(state: &AppState) -> Result<(), KeyError> {
    let done = maintain_once(state).await?;
    if done != Maintenance::default() {
        tracing::info!(ring = ACCESS_RING, retired = ?done.retired, private_part_destroyed = ?done.destroyed, "keys are due");
    }
    metrics::show(&state.db, ACCESS_RING).await?;
    Ok(())
}

/// One round, in one transaction.
pub(super) async fn maintain_once(state: &AppState) -> Result<Maintenance, KeyError> {
    let actor = Actor::control_plane();
    let mut tx = state.db.begin().await?;
    let now = complete_ring(&mut tx, &state.vault, &actor).await?;
    let retired = store::retire_due(&mut tx, ACCESS_RING, now).await?;
    let window_s = i64::from(state.bounds.rollback_window_s);
    let destroyed = store::destroy_due(&mut tx, ACCESS_RING, now, window_s).await?;
    for kid in &retired {
        store::record(&mut tx, &actor, "signing_key.retired", ACCESS_RING, kid).await?;
    }
    for kid in &destroyed {
        store::record(
            &mut tx,
            &actor,
            "signing_key.private_part_destroyed",
            ACCESS_RING,
            kid,
        )
        .await?;
    }
    if !retired.is_empty() {
        store::raise_seq(&mut tx, ACCESS_RING, now).await?;
    }
    tx.commit().await?;
    Ok(Maintenance { retired, destroyed })
}
