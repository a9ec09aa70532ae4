//! `POST /internal/keys/rotate`: the standby takes over.

use axum::extract::State;
use chrono::{DateTime, Utc};
use keyring::{KeyState, RingName};
use problem::Problem;
use serde::Serialize;
use sqlx::PgConnection;

use super::error::KeyError;
use super::initialise::publish_standby;
use super::vault::SealedKey;
use super::{OfRing, metrics, store};
use crate::extract::{Actor, Json, Query};
use crate::fleet;
use crate::state::AppState;

/// A rotation that has happened.
#[derive(Debug, Serialize)]
pub(crate) struct Rotation {
    /// The ring that turned.
    ring: RingName,
    /// Its `seq` now: verifiers that hold it know all that follows.
    seq: i64,
    /// Kid of the key that signs from now on.
    active: String,
    /// Kid of the key that signed until now.
    retiring: String,
    /// Kid of the key that will sign next.
    standby: String,
    /// When it happened, in the database's time.
    rotated_at: DateTime<Utc>,
    /// Seconds for which the old key still verifies.
    verifies_for_s: i64,
}

/// Rotates the ring: the standby becomes active, the active key retires, a new standby is published, in one transaction.
///
/// 409 `rotation-too-early` with `retry_after` in seconds while some verifier may not know the standby (G2); 409
/// `standby-unusable` when it cannot be opened. Nothing is changed then.
pub(crate) async fn rotate_keys(
    State(state): State<AppState>,
    Query(OfRing { ring }): Query<OfRing>,
    actor: Actor,
) -> Result<Json<Rotation>, Problem> {
    let rotation = rotate(&state, ring, &actor).await?;
    metrics::count_rotation(ring);
    tracing::info!(
        ring = ring.as_str(),
        actor = actor.name(),
        seq = rotation.seq,
        active = rotation.active,
        retiring = rotation.retiring,
        standby = rotation.standby,
        "the signing key was rotated"
    );
    Ok(Json(rotation))
}

/// What the roots have not allowed to sign for gateways must not become the key that does: they would refuse all that
/// follows.
async fn refuse_untrusted(
    state: &AppState,
    conn: &mut PgConnection,
    ring: RingName,
    standby: &SealedKey,
) -> Result<(), KeyError> {
    let is_trusted = ring != RingName::Bundle
        || fleet::is_trusted_to_sign(state, conn, &standby.public_key)
            .await
            .map_err(|error| KeyError::Inconsistent(error.to_string()))?;
    if is_trusted {
        Ok(())
    } else {
        Err(KeyError::StandbyUntrusted)
    }
}

/// One rotation, or none: the transaction is rolled back on every refusal.
async fn rotate(state: &AppState, ring: RingName, actor: &Actor) -> Result<Rotation, KeyError> {
    let dwell_s = i64::from(state.bounds.standby_dwell_s);
    let mut tx = state.db.begin().await?;
    let seq = store::lock_ring(&mut tx, ring)
        .await?
        .ok_or(KeyError::NotInitialised)?;
    let now = store::database_time(&mut tx).await?;

    let Some(retiring) = store::retire_active(&mut tx, ring, now, &state.bounds).await? else {
        return Err(match store::standby_wait_s(&mut tx, ring, now, dwell_s).await? {
            None => KeyError::NotInitialised,
            Some(0) => KeyError::Inconsistent("the standby is ready, and no key is active".to_owned()),
            Some(wait_s) => KeyError::TooEarly {
                retry_after_s: u64::try_from(wait_s).unwrap_or(1),
            },
        });
    };
    // A key that does not open would end every log-in: it is tried before it signs, not after.
    let standby = store::sealed_key(&mut tx, ring, KeyState::Published.as_str()).await?;
    let standby = standby.ok_or(KeyError::NotInitialised)?;
    state
        .vault
        .prove(ring, &standby)
        .map_err(KeyError::StandbyUnusable)?;
    refuse_untrusted(state, &mut tx, ring, &standby).await?;

    let active = store::activate_standby(&mut tx, ring, now, dwell_s)
        .await?
        .filter(|kid| *kid == standby.kid)
        .ok_or_else(|| KeyError::Inconsistent("the standby changed under the lock".to_owned()))?;
    store::record(&mut tx, actor, "signing_key.retiring", ring, &retiring).await?;
    store::record(&mut tx, actor, "signing_key.activated", ring, &active).await?;
    let standby = publish_standby(&mut tx, &state.vault, ring, actor, seq + 1, now).await?;
    let seq = store::raise_seq(&mut tx, ring, now).await?;
    tx.commit().await?;
    Ok(Rotation {
        ring,
        seq,
        active,
        retiring,
        standby,
        rotated_at: now,
        verifies_for_s: state.bounds.verify_window_s(),
    })
}
