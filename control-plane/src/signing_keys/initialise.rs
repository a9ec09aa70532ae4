//! Gives a ring what it must always have: a key that signs, and a standby.

use chrono::{DateTime, Utc};
use keyring::{KeyState, RingName};
use sqlx::PgConnection;

use super::error::KeyError;
use super::vault::SealedKey;
use super::{Vault, store};
use crate::extract::Actor;
use crate::keks;

/// A transaction that holds the lock of a ring.
#[derive(Debug, Clone, Copy)]
pub(super) struct Locked {
    /// The ring.
    pub(super) ring: RingName,
    /// The `seq` that the ring will have at commit, if anything that verifiers must learn of changes.
    pub(super) next_seq: i64,
    /// The database's time under the lock.
    pub(super) now: DateTime<Utc>,
}

/// Locks a ring, and asks for the time then.
pub(super) async fn lock(conn: &mut PgConnection, ring: RingName) -> Result<Locked, KeyError> {
    let seq = store::lock_ring(conn, ring)
        .await?
        .ok_or(KeyError::NotInitialised)?;
    Ok(Locked {
        ring,
        next_seq: seq + 1,
        now: store::database_time(conn).await?,
    })
}

/// Completes the ring, inside the caller's transaction and under the lock it takes: a new ring gets both keys, a ring
/// without a standby gets one.
///
/// The first key signs at once: no verifier can hold a key set from before there was one. A ring that has keys but none
/// that signs is left alone; that takes a person.
pub(super) async fn complete_ring(
    conn: &mut PgConnection,
    vault: &Vault,
    ring: RingName,
    actor: &Actor,
) -> Result<Locked, KeyError> {
    store::create_ring(conn, ring).await?;
    let locked = lock(conn, ring).await?;
    let active = store::sealed_key(conn, ring, KeyState::Active).await?;
    let standby = store::sealed_key(conn, ring, KeyState::Published).await?;
    if active.is_some() && standby.is_some() {
        return Ok(locked);
    }
    if active.is_none() {
        if locked.next_seq > 1 {
            return Err(KeyError::Inconsistent(
                "the ring has had keys, and none is active".to_owned(),
            ));
        }
        let kid = publish_standby(conn, vault, actor, &locked).await?;
        activate_at_once(conn, actor, &locked, &kid).await?;
    }
    publish_standby(conn, vault, actor, &locked).await?;
    store::raise_seq(conn, ring, locked.now).await?;
    Ok(locked)
}

/// The spare key of this process, unless it has a row: a transaction that fails uses up nothing.
pub(super) async fn unused_spare(
    conn: &mut PgConnection,
    vault: &Vault,
    ring: RingName,
    kek_version: i32,
) -> Result<Option<SealedKey>, KeyError> {
    let Some(spare) = vault.spare(ring, kek_version) else {
        return Ok(None);
    };
    let known = store::standing(conn, ring, &spare.kid).await?;
    Ok(known.is_none().then_some(spare))
}

/// Makes a key, and publishes it once the row as the database holds it has been proved: opened, it signs, and the signature
/// verifies (guard G1). Gives its kid.
pub(super) async fn publish_standby(
    conn: &mut PgConnection,
    vault: &Vault,
    actor: &Actor,
    locked: &Locked,
) -> Result<String, KeyError> {
    let Locked { ring, next_seq, now } = *locked;
    let kid = {
        let version = keks::sealing_version(conn, vault.keks()).await?;
        let key = match unused_spare(conn, vault, ring, version).await? {
            Some(spare) => spare,
            None => vault.make_and_hold(ring, version).await?,
        };
        store::insert_generated(conn, ring, &key, now).await?;
        key.kid
    };
    store::record(conn, actor, "signing_key.generated", ring, &kid, None).await?;
    let row = store::sealed_part(conn, ring, &kid).await?;
    let lost = || KeyError::Inconsistent("a new key is not what was written".to_owned());
    vault.prove(ring, &row.ok_or_else(lost)?).await?;
    if !store::publish(conn, &kid, next_seq, now).await? {
        return Err(lost());
    }
    store::record(conn, actor, "signing_key.published", ring, &kid, None).await?;
    Ok(kid)
}

/// Lets a published key sign without waiting for verifiers.
pub(super) async fn activate_at_once(
    conn: &mut PgConnection,
    actor: &Actor,
    locked: &Locked,
    kid: &str,
) -> Result<(), KeyError> {
    if !store::activate_at_once(conn, kid, locked.now).await? {
        return Err(KeyError::Inconsistent(
            "the standby changed under the lock".to_owned(),
        ));
    }
    store::record(conn, actor, "signing_key.activated", locked.ring, kid, None).await?;
    Ok(())
}
