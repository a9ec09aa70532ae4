//! `POST /internal/keys/rotate`: the standby takes over.

use axum::extract::State;
use chrono::{DateTime, Utc};
use keyring::{KeyState, RingName};
use problem::Problem;
use serde::Serialize;
use sqlx::PgConnection;

use super::error::KeyError;
use super::initialise::{Locked, lock, publish_standby};
use super::store::Successor;
use super::vault::SealedKey;
use super::{OfRing, metrics, store};
use crate::extract::{Actor, Json, Query};
use crate::state::AppState;
use crate::{fleet, keks};

/// A rotation that has happened.
#[derive(Debug, Serialize)]
pub(crate) struct Rotation {
    /// The ring that turned.
    ring: RingName,
    /// Its `seq` now: verifiers that hold it know all that follows.
    seq: i64,
    /// Kid of the key that signs from now on.
    pub(super) active: String,
    /// Kid of the key that signed until now.
    retiring: String,
    /// Kid of the key that will sign next.
    standby: String,
    /// When it happened, in the database's time.
    rotated_at: DateTime<Utc>,
    /// Seconds for which the old key still verifies.
    verifies_for_s: i64,
}

/// Rotates the ring: the key that signs next becomes active, the active key retires, and a new standby is published where the
/// old one was used up, in one transaction.
///
/// 409 `rotation-too-early` with `retry_after` in seconds while some verifier may not know that key, 409
/// `rotation-postponed` with the names of live gateways that do not (G2); 409 `kek-not-everywhere` with those of live cores and
/// control planes that could not open it; 409 `standby-unusable` when it cannot be opened,
/// 503 `keys-unavailable` when nobody could open it now. Nothing is changed then.
pub(crate) async fn rotate_keys(
    State(state): State<AppState>,
    Query(OfRing { ring }): Query<OfRing>,
    actor: Actor,
) -> Result<Json<Rotation>, Problem> {
    refuse_unreachable(&state, ring).await?;
    let mut tx = state.db.begin().await.map_err(KeyError::from)?;
    let rotation = rotate(&mut tx, &state, ring, &actor).await?;
    tx.commit().await.map_err(KeyError::from)?;
    note(&rotation, &actor);
    Ok(Json(rotation))
}

/// Tells metrics and log of a rotation that has been committed.
pub(super) fn note(rotation: &Rotation, actor: &Actor) {
    metrics::count_rotation(rotation.ring);
    tracing::info!(
        ring = rotation.ring.as_str(),
        actor = actor.name(),
        seq = rotation.seq,
        active = rotation.active,
        retiring = rotation.retiring,
        standby = rotation.standby,
        "the signing key was rotated"
    );
}

/// core-api must be able to open the key that signs next. This process may hold it already, so whoever keeps its
/// key-encryption key is asked anew, before any ring is locked.
pub(super) async fn refuse_unreachable(state: &AppState, ring: RingName) -> Result<(), KeyError> {
    let mut conn = state.db.acquire().await?;
    let now = store::database_time(&mut conn).await?;
    let Some(successor) = store::successor(&mut conn, ring, now, 0).await? else {
        return Ok(());
    };
    let sealed = store::sealed_part(&mut conn, ring, &successor.kid).await?;
    drop(conn);
    match sealed {
        Some(sealed) => (state.vault.probe(ring, &sealed).await).map_err(KeyError::StandbyUnusable),
        None => Ok(()),
    }
}

/// What the roots have not allowed to sign for gateways must not become the key that does, not even in an emergency: they
/// would refuse all that follows, revocations first.
pub(super) async fn refuse_untrusted(
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

/// One rotation in the caller's transaction, which is not to be committed on a refusal.
pub(super) async fn rotate(
    conn: &mut PgConnection,
    state: &AppState,
    ring: RingName,
    actor: &Actor,
) -> Result<Rotation, KeyError> {
    let dwell_s = i64::from(state.bounds.standby_dwell_s);
    let locked = lock(conn, ring).await?;
    let now = locked.now;
    let successor = store::successor(conn, ring, now, dwell_s)
        .await?
        .ok_or(KeyError::NotInitialised)?;
    let retiring = store::retire_active(conn, ring, &successor.kid, now, &state.bounds).await?;
    let Some(retiring) = retiring else {
        return Err(objection(conn, ring, &successor).await?);
    };
    // A key that does not open would end every log-in: it is tried before it signs, not after.
    let sealed = store::sealed_part(conn, ring, &successor.kid).await?;
    let sealed = sealed.ok_or(KeyError::NotInitialised)?;
    state
        .vault
        .prove(ring, &sealed)
        .await
        .map_err(KeyError::StandbyUnusable)?;
    let version = sealed.kek_version;
    let lacking = keks::lacking(conn, version).await?;
    if !lacking.is_empty() {
        metrics::count_postponed(ring);
        return Err(KeyError::KekNotEverywhere { version, lacking });
    }
    refuse_untrusted(state, conn, ring, &sealed).await?;
    // The guards once more: a gateway may have come to life since.
    if !store::activate(conn, &successor.kid, now, dwell_s).await? {
        return Err(objection(conn, ring, &successor).await?);
    }
    store::record(conn, actor, "signing_key.retiring", ring, &retiring, None).await?;
    store::record(conn, actor, "signing_key.activated", ring, &successor.kid, None).await?;
    let standby = standby_after(conn, state, actor, &locked, &successor).await?;
    let seq = store::raise_seq(conn, ring, now).await?;
    Ok(Rotation {
        ring,
        seq,
        active: successor.kid,
        retiring,
        standby,
        rotated_at: now,
        verifies_for_s: state.bounds.verify_window_s(),
    })
}

/// Which guard stood against this successor.
async fn objection(conn: &mut PgConnection, ring: RingName, successor: &Successor) -> sqlx::Result<KeyError> {
    if successor.wait_s > 0 {
        return Ok(KeyError::TooEarly {
            retry_after_s: u64::try_from(successor.wait_s).unwrap_or(1),
        });
    }
    let gateways = store::gateways_behind(conn, ring, successor.published_seq).await?;
    Ok(if gateways.is_empty() {
        KeyError::Inconsistent("the successor is ready, and no key is active".to_owned())
    } else {
        metrics::count_postponed(ring);
        KeyError::Postponed { gateways }
    })
}

/// The kid of the standby after the rotation: a new one, unless a key that was called back took over.
async fn standby_after(
    conn: &mut PgConnection,
    state: &AppState,
    actor: &Actor,
    locked: &Locked,
    successor: &Successor,
) -> Result<String, KeyError> {
    if !successor.is_reinstated {
        return publish_standby(conn, &state.vault, actor, locked).await;
    }
    let standby = store::sealed_key(conn, locked.ring, KeyState::Published).await?;
    Ok(standby.ok_or(KeyError::NotInitialised)?.kid)
}
