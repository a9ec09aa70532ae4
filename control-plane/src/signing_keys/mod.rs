//! The signing keys: a ring for each purpose, in PostgreSQL, from publication to retirement.
//!
//! `vault.rs` makes and opens keys, `initialise.rs` gives a ring its first two, `rotate.rs` and `retire.rs` change states,
//! `keyset.rs` publishes, `sign.rs` signs what this process itself states, `store.rs` holds the SQL. The rules themselves, as pure functions, are `keyring::step`.
//!
//! **Invariant:** a committed ring has exactly one active key and exactly one standby (INV-4).

mod error;
mod initialise;
mod keyset;
mod list;
mod metrics;
mod retire;
mod rotate;
mod sign;
mod store;
#[cfg(test)]
mod tests;
mod vault;

pub(crate) use keyset::{follow, key_set, show_keyset};
pub(crate) use list::{list_keys, readiness, refuse_wrong_kek};
pub(crate) use retire::maintain;
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

/// Brings every ring to where a started process has it.
#[cfg(test)]
pub(crate) async fn complete(state: &crate::state::AppState) {
    for ring in keyring::RingName::ALL {
        retire::maintain_once(state, ring).await.unwrap();
    }
}
