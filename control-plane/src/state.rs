//! What every handler and background task of the control plane shares.

use std::sync::Arc;

use anyhow::Context as _;
use keyring::Bounds;
use service_runtime::shutdown::Shutdown;
use sqlx::PgPool;
use tokio::sync::watch;

use crate::settings::{Schedule, Settings};
use crate::signing_keys::Vault;

/// Shared state; a clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct AppState {
    /// PostgreSQL, as `portico_control`.
    pub(crate) db: PgPool,
    /// Makes and opens private keys.
    pub(crate) vault: Arc<Vault>,
    /// The durations a rotation keeps.
    pub(crate) bounds: Bounds,
    /// When a ring turns by itself, and when that is overdue.
    pub(crate) schedule: Schedule,
    /// The latest known `seq` of the ring; changes wake those who wait for a key set.
    pub(crate) seq: watch::Receiver<i64>,
    /// Tells waiting requests to end.
    pub(crate) shutdown: Shutdown,
}

impl AppState {
    /// Builds the state, and the sender through which [`crate::signing_keys::follow`] announces a new `seq`.
    ///
    /// # Errors
    ///
    /// When a key-encryption key has no usable form.
    pub(crate) fn new(
        settings: &Settings,
        db: PgPool,
        shutdown: Shutdown,
    ) -> anyhow::Result<(Self, watch::Sender<i64>)> {
        let keks = settings.key_encryption_keys().context("kek")?;
        let vault = Vault::new(keks, settings.rotation.algorithm);
        let (changes, seq) = watch::channel(0);
        Ok((
            Self {
                db,
                vault: Arc::new(vault),
                bounds: settings.bounds(),
                schedule: settings.schedule(),
                seq,
                shutdown,
            },
            changes,
        ))
    }
}
