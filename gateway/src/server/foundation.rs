//! What a gateway has before it serves: keys, revocations, and a policy, from its own directory or stated by its fleet.

use std::collections::BTreeMap;
use std::future::ready;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use service_runtime::clock::Clock;
use service_runtime::health::Readiness;
use service_runtime::private;
use service_runtime::settings::Environment;
use service_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::write_endpoints;
use crate::acme;
use crate::fleet::{Fleet, FleetState, FleetTime, Parts, ShadowSlot, Traffic};
use crate::keys::{KeyFiles, KeySources, KeyStore, KeyUrls};
use crate::policy_source::PolicySource;
use crate::revocations::Revocations;
use crate::settings::Settings;
use crate::standstill::Standstill;
use crate::tls::TlsFiles;

/// What is there before any policy.
pub(super) struct Foundation {
    pub(super) keys: Arc<KeyStore>,
    pub(super) sources: Arc<KeySources>,
    pub(super) tls_files: Arc<Mutex<TlsFiles>>,
    pub(super) revocations: Arc<Revocations>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) shadow: Arc<ShadowSlot>,
    pub(super) standstill: Arc<Standstill>,
    pub(super) time: Arc<FleetTime>,
    pub(super) state: Arc<FleetState>,
}

impl Foundation {
    /// Opens what the state directory holds.
    pub(super) fn open(settings: &Settings, clock: &Clock) -> Self {
        let keys = Arc::new(KeyStore::open(&settings.state_dir));
        let urls = KeyUrls::new(&settings.state_dir, &settings.key_trust_file, clock.clone());
        let fetched = acme::directory(&settings.state_dir);
        let tls_files = TlsFiles::new(&settings.certificate_dir, fetched, clock.clone());
        Self {
            sources: Arc::new(KeySources {
                portico: keys.clone(),
                files: KeyFiles::new(&settings.key_dir),
                urls: Arc::new(urls),
            }),
            tls_files: Arc::new(Mutex::new(tls_files)),
            keys,
            revocations: Arc::new(Revocations::none_yet()),
            traffic: Arc::default(),
            shadow: Arc::default(),
            standstill: Arc::new(Standstill::unwatched()),
            time: Arc::new(FleetTime::unknown(clock.clone())),
            state: Arc::default(),
        }
    }

    /// Joins the fleet, if there is one.
    ///
    /// # Errors
    /// When its state cannot be used.
    pub(super) fn join(
        &self,
        settings: &Settings,
        time_and_place: (Environment, Clock),
        shutdown: &Shutdown,
        is_start: bool,
    ) -> anyhow::Result<Option<Arc<Fleet>>> {
        let Some(fleet) = &settings.fleet else {
            return Ok(None);
        };
        let parts = Parts {
            sources: self.sources.clone(),
            tls_files: self.tls_files.clone(),
            revocations: self.revocations.clone(),
            traffic: self.traffic.clone(),
            shadow: self.shadow.clone(),
            standstill: self.standstill.clone(),
            time: self.time.clone(),
            state: self.state.clone(),
        };
        let fleet = Fleet::open(settings, fleet, time_and_place, shutdown, parts, is_start)?;
        Ok(Some(fleet))
    }

    /// The policy of the directory.
    ///
    /// # Errors
    /// When neither it nor its last good copy can be used.
    pub(super) async fn policies(
        &self,
        settings: &Settings,
        environment: Environment,
        clock: Clock,
    ) -> anyhow::Result<Arc<PolicySource>> {
        let policies = PolicySource::open(settings, environment, clock, self.sources.clone()).await?;
        Ok(Arc::new(policies))
    }
}

/// The policy of the fleet. Without a signed one there are no listeners to open: until the first has come, the gateway
/// answers on its private address alone, and that it is not ready.
///
/// # Errors
/// When the gateway is to stop before.
pub(super) async fn stated_policies(
    fleet: &Fleet,
    state: &Arc<FleetState>,
    settings: &Settings,
    private: &TcpListener,
    shutdown: &Shutdown,
) -> anyhow::Result<Arc<PolicySource>> {
    if let Some(policies) = fleet.policies() {
        return Ok(policies);
    }
    tracing::warn!("there is no signed policy yet: nothing is served until the control plane has sent one");
    let twin = std::net::TcpListener::from(private.as_fd().try_clone_to_owned()?);
    let state = state.clone();
    let readiness = Readiness::new()
        .check("policy", || {
            Box::pin(async { Err("there is no signed policy yet".to_owned()) })
        })
        .check("fleet_state", move || Box::pin(ready(state.check())));
    let waited = CancellationToken::new();
    private::serve_on(
        TcpListener::from_std(twin)?,
        private::router(readiness),
        shutdown,
        waited.clone(),
    );
    let _until_then = waited.drop_guard();
    if let Some(file) = &settings.endpoints_file {
        write_endpoints(file, &BTreeMap::new(), private.local_addr()?)?;
    }
    let first = fleet.first_policy(shutdown).await;
    first.context("stopped before there was a signed policy")
}
