//! The key set as verifiers hold it: what the stream `keyset` states.

use keyring::{KeySet, KeyState, PublicKey, RingName};
use sqlx::PgConnection;

use super::error::KeyError;
use super::store;
use super::store::PublishedRow;

/// Reads the key set and checks it as a verifier would: a wrong set is not published.
pub(crate) async fn key_set(conn: &mut PgConnection) -> Result<KeySet, KeyError> {
    let rows = store::published_keys(conn, RingName::Access).await?;
    let seq = rows.first().map(|row| row.seq).ok_or(KeyError::NotInitialised)?;
    let mut set = KeySet {
        seq: u64::try_from(seq).map_err(|_| KeyError::Inconsistent("a negative seq".to_owned()))?,
        keys: Vec::new(),
        revoked_kids: Vec::new(),
    };
    for row in rows {
        add(&mut set, row)?;
    }
    set.validate()
        .map_err(|error| KeyError::Inconsistent(error.to_string()))?;
    Ok(set)
}

fn add(set: &mut KeySet, row: PublishedRow) -> Result<(), KeyError> {
    let (Some(kid), Some(algorithm), Some(state), Some(public)) =
        (row.kid, row.algorithm, row.state, row.public_key)
    else {
        // The outer join of a ring without keys.
        return Ok(());
    };
    let unknown = || KeyError::Inconsistent(format!("key {kid} has an unknown state or algorithm"));
    let state: KeyState = state.parse().map_err(|_| unknown())?;
    if state == KeyState::Revoked {
        set.revoked_kids.push(kid);
        return Ok(());
    }
    let algorithm = algorithm.parse().map_err(|_| unknown())?;
    let key = PublicKey {
        sign_until: row.sign_until,
        verify_until: row.verify_until,
        ..PublicKey::new(algorithm, &public, state)
    };
    if key.kid != kid {
        return Err(KeyError::Inconsistent(format!(
            "the kid {kid} is not the thumbprint of its key"
        )));
    }
    set.keys.push(key);
    Ok(())
}
