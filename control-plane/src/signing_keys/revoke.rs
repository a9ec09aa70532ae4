//! `POST /internal/keys/revoke` and `…/abort`: a key is no longer good.

use axum::extract::State;
use chrono::{DateTime, Utc};
use keyring::{KeyState, RingName};
use problem::Problem;
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};

use super::error::KeyError;
use super::initialise::{Locked, activate_at_once, lock, publish_standby};
use super::rotate::refuse_untrusted;
use super::store::Standing;
use super::{OneKey, metrics, store};
use crate::extract::{Actor, Json, Query};
use crate::state::AppState;

/// A key that has come to its end, and the ring as it is now.
#[derive(Debug, Serialize)]
pub(crate) struct Ended {
    ring: RingName,
    kid: String,
    /// `revoked` or `aborted`.
    state: KeyState,
    /// Whether this request did it; false when it had been done before.
    changed: bool,
    /// The ring's `seq`: verifiers that hold it know all that follows.
    seq: i64,
    /// Kid of the key that signs.
    active: String,
    /// Kid of the key that will sign next; null until one can be made.
    standby: Option<String>,
    /// The database's time.
    at: DateTime<Utc>,
}

/// Revokes a key at once and for ever. In the place of the active key the standby signs from now on, and a new standby is
/// published, in one transaction; no gateway is waited for, nor anybody who keeps keys: a standby that cannot be made now is
/// made later. Doing it twice changes nothing.
///
/// 503 when no standby is there to sign in the place of the active key, so that nobody could say what is revoked any more. 404 for a kid that the ring does not have, 409 `key-finished` for one that verifies nothing any more, 409
/// `standby-unusable` when the standby that should sign cannot be opened, 409 `standby-untrusted` when it should sign for
/// gateways and the trust document in force does not name it.
pub(crate) async fn revoke_key(
    State(state): State<AppState>,
    Query(key): Query<OneKey>,
    actor: Actor,
) -> Result<Json<Ended>, Problem> {
    let mut tx = state.db.begin().await.map_err(KeyError::from)?;
    let ended = revoke(&mut tx, &state, &key, &actor).await?;
    tx.commit().await.map_err(KeyError::from)?;
    if ended.changed {
        metrics::count_revocation(ended.ring);
        tracing::error!(
            ring = ended.ring.as_str(),
            kid = ended.kid,
            actor = actor.name(),
            seq = ended.seq,
            active = ended.active,
            "a signing key was revoked"
        );
    }
    Ok(Json(ended))
}

/// Sets aside a key that has signed nothing: a standby, for which another one is published. Doing it twice changes nothing.
///
/// 404 for a kid that the ring does not have, 409 `key-in-use` for one that signs or has signed.
pub(crate) async fn abort_key(
    State(state): State<AppState>,
    Query(key): Query<OneKey>,
    actor: Actor,
) -> Result<Json<Ended>, Problem> {
    let mut tx = state.db.begin().await.map_err(KeyError::from)?;
    let ended = abort(&mut tx, &state, &key, &actor).await?;
    tx.commit().await.map_err(KeyError::from)?;
    if ended.changed {
        tracing::info!(
            ring = ended.ring.as_str(),
            kid = ended.kid,
            actor = actor.name(),
            "a signing key was set aside"
        );
    }
    Ok(Json(ended))
}

async fn revoke(
    conn: &mut PgConnection,
    state: &AppState,
    key: &OneKey,
    actor: &Actor,
) -> Result<Ended, KeyError> {
    let locked = lock(conn, key.ring).await?;
    let (from, is_called_back) = standing(conn, key).await?;
    match from {
        KeyState::Revoked => return ended(conn, key, &locked, KeyState::Revoked, false).await,
        KeyState::Retired | KeyState::Aborted => return Err(KeyError::Finished { state: from }),
        KeyState::Generated | KeyState::Published | KeyState::Active | KeyState::Retiring => {}
    }
    if !store::revoke(conn, &key.kid, from, locked.now).await? {
        return Err(KeyError::Inconsistent(
            "the key changed under the lock".to_owned(),
        ));
    }
    let reason = key.reason.as_deref();
    store::record(conn, actor, "signing_key.revoked", key.ring, &key.kid, reason).await?;
    if from == KeyState::Active {
        hand_over_to_standby(conn, state, actor, &locked).await?;
    }
    if from == KeyState::Active || (from == KeyState::Published && !is_called_back) {
        publish_standby_if_possible(conn, state, actor, &locked).await?;
    }
    store::raise_seq(conn, key.ring, locked.now).await?;
    ended(conn, key, &locked, KeyState::Revoked, true).await
}

/// A stolen key goes whether or not another one can be made; the next round of maintenance makes the one that is missing.
async fn publish_standby_if_possible(
    conn: &mut PgConnection,
    state: &AppState,
    actor: &Actor,
    locked: &Locked,
) -> Result<(), KeyError> {
    let mut attempt = conn.begin().await?;
    match publish_standby(&mut attempt, &state.vault, actor, locked).await {
        Ok(_) => Ok(attempt.commit().await?),
        Err(error) if error.is_unavailable() => {
            tracing::error!(
                ring = locked.ring.as_str(),
                %error,
                "no key can be made to sign next: a key was revoked without one"
            );
            Ok(attempt.rollback().await?)
        }
        Err(error) => Err(error),
    }
}

/// The standby signs, whatever its age: every verifier that is up to date knows it, and the key before it is stolen.
async fn hand_over_to_standby(
    conn: &mut PgConnection,
    state: &AppState,
    actor: &Actor,
    locked: &Locked,
) -> Result<(), KeyError> {
    let standby = store::sealed_key(conn, locked.ring, KeyState::Published).await?;
    let standby = standby.ok_or(KeyError::NotInitialised)?;
    match state.vault.prove(locked.ring, &standby).await {
        // It was proved when it was published. Of `bundle` it must sign at once, here: what is revoked is told by it.
        Err(error) if error.is_unavailable() && locked.ring != RingName::Bundle => {
            tracing::error!(ring = locked.ring.as_str(), %error, "the standby signs unproved, in the place of a revoked key");
        }
        proved => proved.map_err(KeyError::StandbyUnusable)?,
    }
    refuse_untrusted(state, conn, locked.ring, &standby).await?;
    activate_at_once(conn, actor, locked, &standby.kid).await
}

async fn abort(
    conn: &mut PgConnection,
    state: &AppState,
    key: &OneKey,
    actor: &Actor,
) -> Result<Ended, KeyError> {
    let locked = lock(conn, key.ring).await?;
    let (from, is_called_back) = standing(conn, key).await?;
    match from {
        KeyState::Aborted => return ended(conn, key, &locked, KeyState::Aborted, false).await,
        KeyState::Generated | KeyState::Published if !is_called_back => {}
        _ => return Err(KeyError::InUse { state: from }),
    }
    if !store::abort(conn, &key.kid, from, locked.now).await? {
        return Err(KeyError::Inconsistent(
            "the key changed under the lock".to_owned(),
        ));
    }
    let reason = key.reason.as_deref();
    store::record(conn, actor, "signing_key.aborted", key.ring, &key.kid, reason).await?;
    if from == KeyState::Published {
        publish_standby(conn, &state.vault, actor, &locked).await?;
        store::raise_seq(conn, key.ring, locked.now).await?;
    }
    ended(conn, key, &locked, KeyState::Aborted, true).await
}

/// The state of a key, and whether it is published because it was called back.
pub(super) async fn standing(conn: &mut PgConnection, key: &OneKey) -> Result<(KeyState, bool), KeyError> {
    let found = store::standing(conn, key.ring, &key.kid).await?;
    let Standing {
        state,
        is_called_back,
    } = found.ok_or(KeyError::UnknownKey)?;
    let state = state.parse();
    let state = state.map_err(|_| KeyError::Inconsistent("a key has an unknown state".to_owned()))?;
    Ok((state, is_called_back))
}

async fn ended(
    conn: &mut PgConnection,
    key: &OneKey,
    locked: &Locked,
    state: KeyState,
    changed: bool,
) -> Result<Ended, KeyError> {
    let active = store::sealed_key(conn, key.ring, KeyState::Active).await?;
    let standby = store::sealed_key(conn, key.ring, KeyState::Published).await?;
    Ok(Ended {
        ring: key.ring,
        kid: key.kid.clone(),
        state,
        changed,
        seq: store::seq(conn, key.ring).await?.unwrap_or(0),
        active: active.ok_or(KeyError::NotInitialised)?.kid,
        standby: standby.map(|standby| standby.kid),
        at: locked.now,
    })
}
