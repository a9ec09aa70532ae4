//! Background work on the rings: they are completed, keys that are due are retired, private parts that are due destroyed,
//! and a ring that is due turns by itself.

use std::time::Duration;

use keyring::RingName;
use tokio::time::MissedTickBehavior;

use super::error::KeyError;
use super::initialise::{complete_ring, unused_spare};
use super::{metrics, rotate, store};
use crate::extract::Actor;
use crate::keks;
use crate::lease::{Fence, Lease};
use crate::state::AppState;

/// What one round of maintenance did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Maintenance {
    /// Keys that were retired.
    pub(super) retired: Vec<String>,
    /// Retiring keys whose private part was destroyed.
    pub(super) destroyed: Vec<String>,
    /// The key that signs since this round, when the ring turned by itself.
    pub(super) activated: Option<String>,
}

/// Works until shutdown, once now and then at every interval, while this process has the lease. Several instances are
/// harmless: each step is a transaction of compare-and-set statements under the lock of the ring.
pub(crate) async fn maintain(state: AppState, interval: Duration) {
    let mut lease = Lease::new("signing-keys", interval);
    let holder = keks::Holder::new(state.vault.keks().versions(), interval);
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = state.shutdown.cancelled() => break,
            _ = ticks.tick() => {}
        }
        tell_of_keks(&state, &holder).await;
        for ring in RingName::ALL {
            if let Err(error) = run_round(&state, ring, &mut lease).await {
                tracing::warn!(ring = ring.as_str(), error = %error, cause = ?error, "signing-key maintenance failed; it is tried again");
            }
        }
    }
    holder.end(&state.db).await;
    lease.give_back(&state.db).await;
}

/// Which key-encryption keys are here, and how many private keys need which.
async fn tell_of_keks(state: &AppState, holder: &keks::Holder) {
    if let Err(error) = holder.say(&state.db).await {
        tracing::warn!(%error, "which key-encryption keys are here cannot be said now");
    }
    if let Err(error) = keks::show_sealed(&state.db).await {
        tracing::warn!(%error, "how many private keys need which key-encryption key is not known now");
    }
}

async fn run_round(state: &AppState, ring: RingName, lease: &mut Lease) -> Result<(), KeyError> {
    metrics::show_provider(ring, hold_ready(state, ring).await);
    if let Some(fence) = lease.hold(&state.db).await? {
        let done = maintain_once(state, ring, Some(&fence)).await?;
        if done != Maintenance::default() {
            tracing::info!(ring = ring.as_str(), retired = ?done.retired, private_part_destroyed = ?done.destroyed, activated = ?done.activated, "keys were due");
        }
    }
    metrics::show(&state.db, ring, state.schedule.overdue_s).await?;
    Ok(())
}

/// Opens the private keys of a ring and makes its spare one, where the key-encryption key stays elsewhere: what this process
/// holds works on while nobody answers there.
pub(super) async fn hold_ready(state: &AppState, ring: RingName) -> Result<(), KeyError> {
    let mut conn = state.db.acquire().await?;
    let sealing = keks::active_version(&mut conn).await?;
    let rows = store::sealed_keys(&mut conn, ring).await?;
    let spare = match sealing {
        Some(version) => unused_spare(&mut conn, &state.vault, ring, version).await?,
        None => None,
    };
    drop(conn);
    for row in rows
        .iter()
        .filter(|row| state.vault.keks().is_remote(row.kek_version))
    {
        state.vault.open(ring, row).await?;
    }
    match sealing {
        Some(version) if spare.is_none() => Ok(state.vault.make_spare(ring, version).await?),
        Some(_) | None => Ok(()),
    }
}

/// One round of a ring: what is over first, in one transaction, then its turn, in another.
pub(super) async fn maintain_once(
    state: &AppState,
    ring: RingName,
    fence: Option<&Fence>,
) -> Result<Maintenance, KeyError> {
    let mut done = settle(state, ring, fence).await?;
    done.activated = match turn(state, ring, fence).await {
        // Somebody will be told by the metric, and by whoever asks; the guards are tried again at the next round.
        Err(KeyError::TooEarly { .. }) => None,
        Err(error @ (KeyError::Postponed { .. } | KeyError::KekNotEverywhere { .. })) => {
            tracing::warn!(ring = ring.as_str(), %error, "a rotation that is due waits");
            None
        }
        turned => turned?,
    };
    Ok(done)
}

async fn settle(state: &AppState, ring: RingName, fence: Option<&Fence>) -> Result<Maintenance, KeyError> {
    let actor = Actor::control_plane();
    let mut tx = state.db.begin().await?;
    check(&mut tx, fence).await?;
    let now = complete_ring(&mut tx, &state.vault, ring, &actor).await?.now;
    let retired = store::retire_due(&mut tx, ring, now).await?;
    let window_s = i64::from(state.bounds.rollback_window_s);
    let destroyed = store::destroy_due(&mut tx, ring, now, window_s).await?;
    for (action, kids) in [
        ("signing_key.retired", &retired),
        ("signing_key.private_part_destroyed", &destroyed),
    ] {
        for kid in kids {
            store::record(&mut tx, &actor, action, ring, kid, None).await?;
        }
    }
    if !retired.is_empty() {
        store::raise_seq(&mut tx, ring, now).await?;
    }
    tx.commit().await?;
    Ok(Maintenance {
        retired,
        destroyed,
        activated: None,
    })
}

/// Rotates a ring whose active key has signed long enough, or to which a key was called back; the same rotation as by hand.
/// Gives the kid that signs now.
pub(super) async fn turn(
    state: &AppState,
    ring: RingName,
    fence: Option<&Fence>,
) -> Result<Option<String>, KeyError> {
    let every_s = state.schedule.rotate_every_s;
    let is_due = store::is_due(&mut *state.db.acquire().await?, ring, every_s).await?;
    if !is_due {
        return Ok(None);
    }
    rotate::refuse_unreachable(state, ring).await?;
    let actor = Actor::control_plane();
    let mut tx = state.db.begin().await?;
    check(&mut tx, fence).await?;
    // Asked again under the lock: another control plane may have turned the ring a moment ago.
    store::lock_ring(&mut tx, ring).await?;
    if !store::is_due(&mut tx, ring, every_s).await? {
        return Ok(None);
    }
    let rotation = rotate::rotate(&mut tx, state, ring, &actor).await?;
    tx.commit().await?;
    rotate::note(&rotation, &actor);
    Ok(Some(rotation.active))
}

async fn check(conn: &mut sqlx::PgConnection, fence: Option<&Fence>) -> Result<(), KeyError> {
    match fence {
        Some(fence) if !fence.holds(conn).await? => Err(KeyError::LeaseLost),
        _ => Ok(()),
    }
}
