//! `POST /internal/keys/reinstate`: a rotation is taken back.

use axum::extract::State;
use chrono::{DateTime, Utc};
use keyring::{KeyState, RingName};
use problem::Problem;
use serde::Serialize;
use sqlx::PgConnection;

use super::error::KeyError;
use super::initialise::lock;
use super::revoke::standing;
use super::{OneKey, store};
use crate::extract::{Actor, Json, Query};
use crate::state::AppState;

/// A key that was called back.
#[derive(Debug, Serialize)]
pub(crate) struct Reinstatement {
    ring: RingName,
    kid: String,
    /// Whether this request did it; false when it had been done before.
    changed: bool,
    /// The ring's `seq`: the key takes over when every live gateway holds it.
    seq: i64,
    /// Seconds until the key has been published long enough to sign again.
    takes_over_in_s: u32,
    /// The database's time.
    at: DateTime<Utc>,
}

/// Calls a retiring key back: it is published again, and takes over by itself as soon as the guards of a rotation let it. Until
/// then the active key signs. Doing it twice changes nothing.
///
/// 404 for a kid that the ring does not have; 409 `not-reinstatable` when it is not retiring, the rollback window is over, or
/// another key was called back; 409 `standby-unusable` when it cannot be opened.
pub(crate) async fn reinstate_key(
    State(state): State<AppState>,
    Query(key): Query<OneKey>,
    actor: Actor,
) -> Result<Json<Reinstatement>, Problem> {
    let mut tx = state.db.begin().await.map_err(KeyError::from)?;
    let reinstatement = reinstate(&mut tx, &state, &key, &actor).await?;
    tx.commit().await.map_err(KeyError::from)?;
    if reinstatement.changed {
        tracing::info!(
            ring = reinstatement.ring.as_str(),
            kid = reinstatement.kid,
            actor = actor.name(),
            "a signing key was called back"
        );
    }
    Ok(Json(reinstatement))
}

async fn reinstate(
    conn: &mut PgConnection,
    state: &AppState,
    key: &OneKey,
    actor: &Actor,
) -> Result<Reinstatement, KeyError> {
    let locked = lock(conn, key.ring).await?;
    let (from, is_called_back) = standing(conn, key).await?;
    let mut reinstatement = Reinstatement {
        ring: key.ring,
        kid: key.kid.clone(),
        changed: false,
        seq: locked.next_seq - 1,
        takes_over_in_s: state.bounds.standby_dwell_s,
        at: locked.now,
    };
    if is_called_back {
        return Ok(reinstatement);
    }
    let window_s = i64::from(state.bounds.rollback_window_s);
    let (ring, kid) = (key.ring, key.kid.as_str());
    if !store::reinstate(conn, ring, kid, locked.next_seq, locked.now, window_s).await? {
        return Err(KeyError::NotReinstatable {
            why: match from {
                KeyState::Retiring => "its rollback window is over, or another key is being reinstated",
                _ => "only a retiring key can be reinstated",
            },
        });
    }
    let sealed = store::sealed_part(conn, ring, kid).await?;
    state
        .vault
        .prove(ring, &sealed.ok_or(KeyError::NotInitialised)?)
        .await
        .map_err(KeyError::StandbyUnusable)?;
    store::record(
        conn,
        actor,
        "signing_key.reinstated",
        ring,
        kid,
        key.reason.as_deref(),
    )
    .await?;
    reinstatement.seq = store::raise_seq(conn, ring, locked.now).await?;
    reinstatement.changed = true;
    Ok(reinstatement)
}
