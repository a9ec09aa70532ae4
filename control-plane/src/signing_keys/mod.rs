//! The signing keys of access tokens: one ring, in PostgreSQL, from publication to retirement.
//!
//! `vault.rs` makes and opens keys, `initialise.rs` gives a ring its first two, `rotate.rs` and `retire.rs` change states,
//! `keyset.rs` publishes, `store.rs` holds the SQL. The rules themselves, as pure functions, are `keyring::step`.
//!
//! **Invariant:** a committed ring has exactly one active key and exactly one standby (INV-4).

mod error;
mod initialise;
mod keyset;
mod list;
mod metrics;
mod retire;
mod rotate;
mod store;
#[cfg(test)]
mod tests;
mod vault;

pub(crate) use keyset::{follow, show_keyset};
pub(crate) use list::{list_keys, readiness, refuse_wrong_kek};
pub(crate) use retire::maintain;
pub(crate) use rotate::rotate_keys;
pub(crate) use vault::Vault;

/// Brings the ring to where a started process has it.
#[cfg(test)]
pub(crate) async fn complete(state: &crate::state::AppState) {
    retire::maintain_once(state).await.unwrap();
}

/// The ring that signs access tokens.
const ACCESS_RING: &str = "access";
