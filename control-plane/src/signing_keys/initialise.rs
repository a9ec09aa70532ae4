//! Gives a ring what it must always have: a key that signs, and a standby.

use chrono::{DateTime, Utc};
use keyring::{KeyState, RingName};
use sqlx::PgConnection;

use super::error::KeyError;
use super::{Vault, store};
use crate::extract::Actor;

/// Completes the ring, inside the caller's transaction and under the lock it takes: a new ring gets both keys, a ring
/// without a standby gets one. Gives the database's time under the lock.
///
/// The first key signs at once: no verifier can hold a key set from before there was one. A ring that has keys but none
/// that signs is left alone; that takes a person.
pub(super) async fn complete_ring(
    conn: &mut PgConnection,
    vault: &Vault,
    ring: RingName,
    actor: &Actor,
) -> Result<DateTime<Utc>, KeyError> {
    store::create_ring(conn, ring).await?;
    let seq = store::lock_ring(conn, ring)
        .await?
        .ok_or(KeyError::NotInitialised)?;
    let now = store::database_time(conn).await?;

    let active = store::sealed_key(conn, ring, KeyState::Active.as_str()).await?;
    let standby = store::sealed_key(conn, ring, KeyState::Published.as_str()).await?;
    if active.is_some() && standby.is_some() {
        return Ok(now);
    }
    if active.is_none() {
        if seq > 0 {
            return Err(KeyError::Inconsistent(
                "the ring has had keys, and none is active".to_owned(),
            ));
        }
        publish_standby(conn, vault, ring, actor, seq + 1, now).await?;
        let kid = store::activate_standby(conn, ring, now, 0).await?;
        let kid =
            kid.ok_or_else(|| KeyError::Inconsistent("the first key cannot be activated".to_owned()))?;
        store::record(conn, actor, "signing_key.activated", ring, &kid).await?;
    }
    publish_standby(conn, vault, ring, actor, seq + 1, now).await?;
    store::raise_seq(conn, ring, now).await?;
    Ok(now)
}

/// Makes, proves (G1) and publishes a key, which verifiers know once they hold `seq`. Gives its kid.
pub(super) async fn publish_standby(
    conn: &mut PgConnection,
    vault: &Vault,
    ring: RingName,
    actor: &Actor,
    seq: i64,
    now: DateTime<Utc>,
) -> Result<String, KeyError> {
    let key = vault.make(ring)?;
    store::publish(conn, ring, &key, seq, now).await?;
    store::record(conn, actor, "signing_key.published", ring, &key.kid).await?;
    Ok(key.kid)
}
