//! Starting and stopping: everything that can fail is done before the first connection is accepted.

mod entrance;
mod readiness;
mod status;
mod worker;

pub(crate) use entrance::Entrance;
pub(crate) use worker::Worker;

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use policy::Plan;
use service_runtime::clock::Clock;
use service_runtime::health::Readiness;
use service_runtime::settings::Environment;
use service_runtime::shutdown::Shutdown;
use tokio_util::sync::CancellationToken;

use crate::acme::{self, Challenges};
use crate::cache::{self, Cache};
use crate::durable_file::write_atomically;
use crate::keys::{self, KeyFiles, KeySources, KeyStore, KeyUrls};
use crate::policy_source::{self, PolicySource, Reload};
use crate::rate_limit::{LimitStore, RateLimiter};
use crate::revocations::{self, Revocations};
use crate::settings::{ConnectionSettings, Settings};
use crate::tokens::Tokens;

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) policies: Arc<PolicySource>,
    pub(crate) keys: Arc<KeyStore>,
    pub(crate) tokens: Tokens,
    pub(crate) readiness: Readiness,
    pub(crate) limiter: RateLimiter,
    pub(crate) challenges: Challenges,
    pub(crate) cache: Arc<Cache>,
    pub(crate) connections: ConnectionSettings,
    pub(crate) clock: Clock,
    pub(crate) shutdown: Shutdown,
}

/// A running gateway.
pub struct Running {
    addresses: BTreeMap<String, SocketAddr>,
    private: SocketAddr,
    shutdown: Shutdown,
    grace: Duration,
    finished: CancellationToken,
    workers: Vec<JoinHandle<()>>,
}

/// Starts a gateway inside a tokio runtime; requests are served on threads of its own.
///
/// # Errors
/// When the policy, a certificate, an address or a directory cannot be used. Nothing is left running then.
pub async fn start(
    settings: &Settings,
    environment: Environment,
    clock: Clock,
    shutdown: Shutdown,
) -> anyhow::Result<Running> {
    make_private_directory(&settings.state_dir)?;
    let keys = Arc::new(KeyStore::open(&settings.state_dir));
    let sources = key_sources(settings, &keys, &clock);
    let revocations = Arc::new(Revocations::open(&settings.state_dir));
    let policies = PolicySource::open(settings, environment, clock.clone(), sources.clone()).await?;
    let policies = Arc::new(policies);
    let (openings, mut tls_files) = entrance::open_all(settings, &policies.current().plan, &clock)?;
    let store = LimitStore::open(&settings.limit_store)?;
    let shared = Arc::new(Shared {
        policies: policies.clone(),
        keys: keys.clone(),
        readiness: readiness::checks(&sources, &policies, &clock),
        tokens: Tokens::new(sources, revocations, settings.token_cache.max_tokens),
        challenges: Challenges::default(),
        cache: Arc::new(Cache::new(settings.cache.max_mib.saturating_mul(1024 * 1024))),
        limiter: RateLimiter::new(settings.rate_limit.max_keys, store.clone()),
        connections: settings.connections,
        clock,
        shutdown: shutdown.clone(),
    });

    let private = serve_private(settings, &shared).await?;
    follow(settings, &shared, store);
    let entrances: Vec<_> = openings.iter().map(|opening| opening.entrance.clone()).collect();
    let poll = Duration::from_millis(settings.policy_poll_ms);
    watch_upstreams(&shared);
    let watched = shared.clone();
    shutdown.spawn(policy_source::watch(
        policies,
        poll,
        shutdown.clone(),
        move |reload| {
            let plan = &watched.policies.current().plan;
            entrance::after_look(plan, &mut tls_files, &entrances, reload);
            after_look(&watched, plan, reload);
        },
    ));

    shutdown.spawn(acme::run(settings.clone(), shared.clone()));
    let addresses: BTreeMap<_, _> = openings
        .iter()
        .map(|opening| (opening.entrance.label.clone(), opening.address))
        .collect();
    let finished = CancellationToken::new();
    let workers = worker::start(settings, &shared, openings, &finished)?;
    let announced = settings
        .endpoints_file
        .as_ref()
        .map_or(Ok(()), |file| write_endpoints(file, &addresses, private));
    if let Err(error) = announced {
        shutdown.trigger();
        finished.cancel();
        return Err(error);
    }
    let grace = Duration::from_millis(settings.shutdown_grace_ms);
    Ok(Running {
        addresses,
        private,
        shutdown,
        grace,
        finished,
        workers,
    })
}

/// What follows each look at the policy directory.
fn after_look(shared: &Shared, plan: &Plan, reload: Reload) {
    if reload == Reload::Loaded {
        // The policy is in each key: nobody would find what was kept before.
        shared.cache.clear();
    }
    shared.tokens.keys.look(plan);
    shared.policies.look_at_upstream_tls();
    watch_upstreams(shared);
    shared.keys.report_age();
    shared.tokens.revocations.report_age();
}

/// Metrics, health and status, for operators. Returns the bound address.
async fn serve_private(settings: &Settings, shared: &Arc<Shared>) -> anyhow::Result<SocketAddr> {
    let (address, _task) = service_runtime::private::serve_with_status(
        settings.private_listen,
        shared.readiness.clone(),
        status::of(shared),
        shared.shutdown.clone(),
    )
    .await?;
    Ok(address)
}

/// Watches the addresses of the policy in force.
fn watch_upstreams(shared: &Shared) {
    for pool in shared.policies.current().pools() {
        pool.watch(&shared.shutdown);
    }
}

/// Where keys come from, before anything is asked for.
fn key_sources(settings: &Settings, portico: &Arc<KeyStore>, clock: &Clock) -> Arc<KeySources> {
    Arc::new(KeySources {
        portico: portico.clone(),
        files: KeyFiles::new(&settings.key_dir),
        urls: Arc::new(KeyUrls::new(
            &settings.state_dir,
            &settings.key_trust_file,
            clock.clone(),
        )),
    })
}

/// Begins to ask the control plane and other issuers for what is new, and whether the store of limits is up.
fn follow(settings: &Settings, shared: &Shared, store: Option<Arc<LimitStore>>) {
    let (shutdown, tokens) = (&shared.shutdown, &shared.tokens);
    if !settings.control_plane_socket.as_os_str().is_empty() {
        let socket = || settings.control_plane_socket.clone();
        shutdown.spawn(keys::follow(shared.keys.clone(), socket(), shutdown.clone()));
        shutdown.spawn(revocations::follow(
            tokens.revocations.clone(),
            socket(),
            shutdown.clone(),
        ));
    }
    shutdown.spawn(cache::sweep(shared.cache.clone(), shutdown.clone()));
    shutdown.spawn(keys::follow_urls(tokens.keys.urls.clone(), shutdown.clone()));
    if let Some(store) = store {
        shutdown.spawn(store.keep(shutdown.clone()));
    }
}

impl Running {
    /// The bound addresses by `<listener>.<http|https>`.
    #[must_use]
    pub const fn addresses(&self) -> &BTreeMap<String, SocketAddr> {
        &self.addresses
    }

    /// The bound address of metrics and health.
    #[must_use]
    pub const fn private_address(&self) -> SocketAddr {
        self.private
    }

    /// Waits for the shutdown signal, then until every request under way is answered or the grace is over. Returns
    /// whether all were answered.
    pub async fn stopped(self) -> bool {
        self.shutdown.cancelled().await;
        let all_answered = self.shutdown.wait_for_tasks(self.grace).await;
        if !all_answered {
            tracing::warn!(
                grace_ms = self.grace.as_millis(),
                "requests were still under way: they are cut"
            );
        }
        self.finished.cancel();
        let joined = tokio::task::spawn_blocking(move || {
            self.workers
                .into_iter()
                .filter_map(|worker| worker.join().err())
                .count()
        });
        if joined.await.unwrap_or(1) > 0 {
            tracing::error!("a worker thread had panicked");
        }
        all_answered
    }
}

fn make_private_directory(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("state_dir: cannot make {}", path.display()))
}

fn write_endpoints(
    file: &Path,
    addresses: &BTreeMap<String, SocketAddr>,
    private: SocketAddr,
) -> anyhow::Result<()> {
    let mut endpoints = serde_json::Map::new();
    endpoints.insert("private".to_owned(), private.to_string().into());
    for (label, address) in addresses {
        endpoints.insert(label.clone(), address.to_string().into());
    }
    write_atomically(file, serde_json::Value::Object(endpoints).to_string().as_bytes())
}
