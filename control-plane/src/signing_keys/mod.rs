//! The signing keys: a ring for each purpose, in PostgreSQL, from publication to retirement.
//!
//! `vault.rs` makes and opens keys, `initialise.rs` gives a ring its first two, `rotate.rs`, `reinstate.rs`,
//! `revoke.rs` and `retire.rs` change states, `keyset.rs` reads what is published, `sign.rs` signs what this process itself states, `store.rs` holds the SQL. The rules themselves, as pure functions, are `keyring::step`.
//!
//! **Invariant:** a committed ring has exactly one active key and exactly one standby (INV-4).

mod error;
mod history;
mod initialise;
mod keyset;
mod list;
mod metrics;
mod reinstate;
mod retire;
mod revoke;
mod rotate;
mod sign;
mod store;
#[cfg(test)]
mod tests;
mod vault;

pub(crate) use error::KeyError;
pub(crate) use history::{show_history, show_kek_history};
pub(crate) use keyset::key_set;
pub(crate) use list::{list_keys, readiness, refuse_wrong_kek};
pub(crate) use reinstate::reinstate_key;
pub(crate) use retire::maintain;
pub(crate) use revoke::{abort_key, revoke_key};
pub(crate) use rotate::rotate_keys;
pub(crate) use sign::sign;
pub(crate) use vault::Vault;

/// The ring that a request is about; without one it is that of access tokens.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfRing {
    #[serde(default)]
    ring: keyring::RingName,
}

/// The key that a request is about, and why.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OneKey {
    #[serde(default)]
    ring: keyring::RingName,
    kid: String,
    /// In the words of whoever asks; kept in the audit record.
    reason: Option<String>,
}

/// Brings every ring to where a started process has it.
#[cfg(test)]
pub(crate) async fn complete(state: &crate::state::AppState) {
    for ring in keyring::RingName::ALL {
        retire::maintain_once(state, ring, None).await.unwrap();
    }
}
