//! `POST /internal/kek/rotate`: the newest version of the settings seals from now on.

use axum::extract::State;
use problem::Problem;
use serde::Serialize;

use super::{KekError, newest, sealing_version, store};
use crate::extract::{Actor, Json};
use crate::state::AppState;

/// A rotation of the key-encryption key.
#[derive(Debug, Serialize)]
pub(crate) struct KekRotation {
    /// Seals from now on.
    active: i32,
    /// Opens only: what it sealed is to be rewrapped.
    retiring: i32,
    /// Private keys that need the old version still.
    to_rewrap: i64,
}

/// Lets the newest version of the settings seal. What is sealed under older ones opens as before.
///
/// 409 `kek-not-newer` when it seals already, 409 `kek-not-everywhere` with the names of live cores and control planes that lack it, 409 `kek-not-in-settings` when what seals is newer still and not here, each saying
/// what to do; 503 `keys-unavailable` when nobody answers who has it.
pub(crate) async fn rotate_kek(
    State(state): State<AppState>,
    actor: Actor,
) -> Result<Json<KekRotation>, Problem> {
    let rotation = rotate(&state, &actor).await?;
    tracing::info!(
        actor = actor.name(),
        active = rotation.active,
        retiring = rotation.retiring,
        "the key-encryption key was rotated"
    );
    Ok(Json(rotation))
}

async fn rotate(state: &AppState, actor: &Actor) -> Result<KekRotation, KekError> {
    let keks = state.vault.keks();
    let active = newest(keks)?;
    // Before anything is locked: whoever keeps it may be slow, or away.
    let check_value = keks.check_value(active).await?;
    let mut tx = state.db.begin().await?;
    let old = sealing_version(&mut tx, keks).await?;
    // Of two rotations at once the second waits here, and finds that it is not the old one that seals.
    let lacking = store::lacking(&mut tx, active).await?;
    if active > old && !lacking.is_empty() {
        return Err(KekError::NotEverywhere {
            version: active,
            lacking,
        });
    }
    if active <= old || !store::begin_to_retire(&mut tx, old).await? {
        return Err(KekError::NotNewer { active: old });
    }
    store::begin(&mut tx, active, &check_value).await?;
    store::record(&mut tx, actor, "kek.rotated", active).await?;
    let to_rewrap = store::sealed_under(&mut tx, old).await?;
    tx.commit().await?;
    Ok(KekRotation {
        active,
        retiring: old,
        to_rewrap,
    })
}
