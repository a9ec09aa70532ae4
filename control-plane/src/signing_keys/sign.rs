//! Signs what the control plane itself states.

use keyring::{KeyState, RingName};

use super::error::KeyError;
use super::store;
use crate::state::AppState;

/// Signs bytes with the active key of a ring: its kid, and the signature in the form of its algorithm.
///
/// The key is read with its sealed part in one statement and is gone from memory when the signature is made. What may be
/// signed, and with which ring, is the caller's to know.
///
/// # Errors
///
/// When the ring has no active key yet, the key does not open, or the database does not answer.
pub(crate) async fn sign(
    state: &AppState,
    ring: RingName,
    bytes: &[u8],
) -> Result<(String, Vec<u8>), KeyError> {
    let mut conn = state.db.acquire().await?;
    let row = store::sealed_key(&mut conn, ring, KeyState::Active).await?;
    let row = row.ok_or(KeyError::NotInitialised)?;
    let key = state.vault.open(ring, &row).await?;
    let signature = key
        .sign_bytes(bytes)
        .await
        .map_err(super::vault::VaultError::from)?;
    Ok((row.kid, signature))
}
