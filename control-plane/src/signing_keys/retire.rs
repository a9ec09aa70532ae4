//! Background work on the rings: they are completed, keys that are due are retired, private parts that are due destroyed.

use std::time::Duration;

use keyring::RingName;
use tokio::time::MissedTickBehavior;

use super::error::KeyError;
use super::initialise::complete_ring;
use super::{metrics, store};
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
        for ring in RingName::ALL {
            if let Err(error) = run_round(&state, ring).await {
                tracing::warn!(ring = ring.as_str(), error = %error, cause = ?error, "signing-key maintenance failed; it is tried again");
            }
        }
    }
}

async fn run_round(state: &AppState, ring: RingName) -> Result<(), KeyError> {
    let done = maintain_once(state, ring).await?;
    if done != Maintenance::default() {
        tracing::info!(ring = ring.as_str(), retired = ?done.retired, private_part_destroyed = ?done.destroyed, "keys are due");
    }
    metrics::show(&state.db, ring).await?;
    Ok(())
}

/// One round of a ring, in one transaction.
pub(super) async fn maintain_once(state: &AppState, ring: RingName) -> Result<Maintenance, KeyError> {
    let actor = Actor::control_plane();
    let mut tx = state.db.begin().await?;
    let now = complete_ring(&mut tx, &state.vault, ring, &actor).await?;
    let retired = store::retire_due(&mut tx, ring, now).await?;
    let window_s = i64::from(state.bounds.rollback_window_s);
    let destroyed = store::destroy_due(&mut tx, ring, now, window_s).await?;
    for kid in &retired {
        store::record(&mut tx, &actor, "signing_key.retired", ring, kid).await?;
    }
    for kid in &destroyed {
        store::record(&mut tx, &actor, "signing_key.private_part_destroyed", ring, kid).await?;
    }
    if !retired.is_empty() {
        store::raise_seq(&mut tx, ring, now).await?;
    }
    tx.commit().await?;
    Ok(Maintenance { retired, destroyed })
}
