//! What every handler and background task of the control plane shares.

use std::sync::Arc;

use anyhow::Context as _;
use database::Pool;
use keyring::Bounds;
use service_runtime::shutdown::Shutdown;

use crate::fleet::Fleet;
use crate::policies::PolicySettings;
use crate::settings::{Schedule, Settings};
use crate::signing_keys::Vault;

/// Shared state; a clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct AppState {
    /// PostgreSQL, as `portico_control`.
    pub(crate) db: Pool,
    /// Makes and opens private keys.
    pub(crate) vault: Arc<Vault>,
    /// The durations a rotation keeps.
    pub(crate) bounds: Bounds,
    /// When a ring turns by itself, and when that is overdue.
    pub(crate) schedule: Schedule,
    /// What gateways are told, and who they are.
    pub(crate) fleet: Arc<Fleet>,
    /// How policies go out.
    pub(crate) policies: Arc<PolicySettings>,
    /// Tells waiting requests to end.
    pub(crate) shutdown: Shutdown,
}

impl AppState {
    /// Builds the state.
    ///
    /// # Errors
    ///
    /// When a key-encryption key or a root of the fleet has no usable form.
    pub(crate) fn new(settings: &Settings, db: impl Into<Pool>, shutdown: Shutdown) -> anyhow::Result<Self> {
        let keks = settings.key_encryption_keys().context("kek")?;
        let vault = Vault::new(keks, settings.rotation.algorithm, settings.providers.clone())
            .with_places(settings.signers.clone());
        Ok(Self {
            db: db.into(),
            vault: Arc::new(vault),
            bounds: settings.bounds(),
            schedule: settings.schedule(),
            fleet: Fleet::new(settings.fleet.clone()).context("fleet.roots")?,
            policies: Arc::new(settings.policies.clone()),
            shutdown,
        })
    }
}
