//! The versions of the key-encryption key: which one seals, and how a new one takes the place of an old one.
//!
//! `rotate.rs` makes the newest version of the settings the one that seals, `rewrap.rs` brings what is sealed to it, and
//! `retire.rs` ends a version under which nothing is sealed any more; `status.rs` and `metrics.rs` say how far that is.
//!
//! `holders.rs` says which processes have which version.
//!
//! **Invariant:** a version seals, and a key sealed under it signs, only when no process is known to lack it; a version is retired only when no private key is sealed under it, and seals none then; the database
//! refuses both.

mod error;
mod holders;
mod metrics;
mod retire;
mod rewrap;
mod rotate;
mod status;
mod store;

use std::collections::BTreeSet;

use custody::{CustodyError, Keks};
use sqlx::PgConnection;

pub(crate) use error::{KekError, not_everywhere, unavailable};
pub(crate) use holders::Holder;
pub(crate) use metrics::show_sealed;
pub(crate) use retire::retire_kek;
pub(crate) use rewrap::rewrap_keys;
pub(crate) use rotate::rotate_kek;
pub(crate) use status::show_keks;
pub(crate) use store::{active_version, lacking};

/// The version that seals new keys. The first control plane of all makes it: the newest of its settings.
pub(crate) async fn sealing_version(conn: &mut PgConnection, keks: &Keks) -> Result<i32, KekError> {
    if active_version(conn).await?.is_none() {
        let newest = newest(keks)?;
        store::begin(conn, newest, &keks.check_value(newest).await?).await?;
    }
    let version = active_version(conn).await?.ok_or(KekError::NoActive)?;
    if keks.has(version) {
        Ok(version)
    } else {
        Err(KekError::NotInSettings { version })
    }
}

/// Compares the settings with what the database knows of each version. Of a version from before there were check values it
/// learns one, if our key of that version is proved to be the right one.
///
/// # Errors
///
/// [`KekError::OtherKey`] when a version of the settings is another key than the one that seals here.
pub(crate) async fn compare(
    conn: &mut PgConnection,
    keks: &Keks,
    proved: &BTreeSet<i32>,
) -> Result<(), KekError> {
    for known in store::all(conn).await? {
        let version = known.version;
        if !keks.has(version) {
            continue;
        }
        match known.check_value {
            Some(check_value) => match keks.check(version, &check_value).await {
                Err(error) if !error.is_unavailable() => return Err(other_key(version, error)),
                Ok(()) | Err(_) => {}
            },
            None if proved.contains(&version) => {
                store::keep_check_value(conn, version, &keks.check_value(version).await?).await?;
            }
            None => {}
        }
    }
    Ok(())
}

/// Anything but silence says that it is another key: even a provider that refuses would refuse for ever.
fn other_key(version: i32, cause: CustodyError) -> KekError {
    KekError::OtherKey { version, cause }
}

fn newest(keks: &Keks) -> Result<i32, KekError> {
    keks.versions().last().copied().ok_or(KekError::NoActive)
}
