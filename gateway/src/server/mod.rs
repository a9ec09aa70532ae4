//! Starting and stopping: everything that can fail is done before the first connection is accepted.

mod accept;
mod drain;
mod entrance;
mod foundation;
mod readiness;
mod status;
pub(crate) mod systemd;
mod worker;

pub(crate) use drain::Drain;
pub(crate) use entrance::{Entrance, OpenSides};
pub(crate) use worker::Worker;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use fleet::Stream;
use policy::Plan;
use service_runtime::clock::Clock;
use service_runtime::health::Readiness;
use service_runtime::private;
use service_runtime::settings::Environment;
use service_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::acme::{self, Challenges};
use crate::cache::{self, Cache};
use crate::durable_file::write_atomically;
use crate::fleet::{ShadowSlot, Traffic};
use crate::hand_over::{Inherited, Predecessor, Turn, Upgrades};
use crate::keys::{self, KeyStore};
use crate::policy_source::{self, PolicySource, Reload};
use crate::rate_limit::{Handshakes, LimitStore, RateLimiter};
use crate::settings::{ConnectionSettings, Settings};
use crate::standstill::Standstill;
use crate::tls::TlsFiles;
use crate::tokens::Tokens;
use entrance::Opening;
use foundation::{Foundation, stated_policies};

/// The name of the private listener among the sockets that are handed over; those of the policy have a dot in theirs.
const PRIVATE: &str = "private";

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) policies: Arc<PolicySource>,
    pub(crate) keys: Arc<KeyStore>,
    pub(crate) tokens: Tokens,
    pub(crate) readiness: Readiness,
    pub(crate) limiter: RateLimiter,
    pub(crate) handshakes: Handshakes,
    /// A policy that is only tried.
    pub(crate) shadow: Arc<ShadowSlot>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) standstill: Arc<Standstill>,
    pub(crate) challenges: Challenges,
    pub(crate) cache: Arc<Cache>,
    pub(crate) connections: ConnectionSettings,
    pub(crate) clock: Clock,
    pub(crate) drain: Arc<Drain>,
    pub(crate) shutdown: Shutdown,
}

/// A running gateway.
pub struct Running {
    addresses: BTreeMap<String, SocketAddr>,
    private: SocketAddr,
    shutdown: Shutdown,
    drain: Arc<Drain>,
    grace: Duration,
    drain_within: Duration,
    finished: CancellationToken,
    workers: Vec<JoinHandle<()>>,
    /// The old process, which still accepts connections too.
    turn: Option<Turn>,
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
    let prepared = Prepared::new(settings, environment, clock, shutdown, Inherited::new()).await?;
    prepared.begin(settings)
}

/// Starts a gateway in the place of another one: with its sockets, and only when it would serve as well. The old one stops
/// to accept when [`Running::announce`] has told it.
///
/// # Errors
/// As [`start`], and when the old one is gone before it has handed over.
pub async fn take_over(
    settings: &Settings,
    environment: Environment,
    clock: Clock,
    shutdown: Shutdown,
    predecessor: &Predecessor,
) -> anyhow::Result<Running> {
    let inherited = predecessor.sockets()?;
    let prepared = Prepared::new(settings, environment, clock, shutdown, inherited).await?;
    let turn = predecessor.wait_for_turn(&prepared.shared.readiness).await?;
    let mut running = prepared.begin(settings)?;
    running.turn = Some(turn);
    Ok(running)
}

/// A gateway that could serve, and accepts nothing yet.
struct Prepared {
    shared: Arc<Shared>,
    openings: Vec<Opening>,
    private: TcpListener,
}

impl Prepared {
    /// Everything that can fail, and what runs in the background.
    async fn new(
        settings: &Settings,
        environment: Environment,
        clock: Clock,
        shutdown: Shutdown,
        mut inherited: Inherited,
    ) -> anyhow::Result<Self> {
        make_private_directory(&settings.state_dir)?;
        let is_start = inherited.is_empty();
        let private = private_listener(settings, &mut inherited).await?;
        let drain = Drain::new(&shutdown);
        let base = Foundation::open(settings, &clock);
        let fleet = base.join(settings, (environment, clock.clone()), &shutdown, is_start)?;
        if let Some(fleet) = &fleet {
            fleet.follow(&shutdown, &drain.token());
        }
        let policies = match &fleet {
            Some(fleet) if settings.follows(Stream::Policy) => {
                stated_policies(fleet, &base.state, settings, &private, &shutdown).await?
            }
            _ => base.policies(settings, environment, clock.clone()).await?,
        };
        if let Some(fleet) = &fleet {
            fleet.runs(&policies);
        }
        let plan = &policies.current().plan;
        let openings = {
            let mut files = base.tls_files.lock().unwrap_or_else(PoisonError::into_inner);
            entrance::open_all(settings, plan, &mut files, &mut inherited)?
        };
        if let Some(fleet) = &fleet {
            fleet.listens(OpenSides::of(openings.iter().map(|opening| &opening.entrance)));
        }
        let store = LimitStore::open(&settings.limit_store)?;
        keep_sockets(&drain, &openings, &private)?;
        let shared = Arc::new(Shared {
            policies: policies.clone(),
            keys: base.keys,
            readiness: readiness::checks(&base.sources, &policies, &clock, base.time, base.state),
            tokens: Tokens::new(base.sources, base.revocations, settings.token_cache.max_tokens),
            shadow: base.shadow,
            traffic: base.traffic,
            standstill: base.standstill,
            challenges: Challenges::default(),
            cache: Arc::new(Cache::new(settings.cache.max_mib.saturating_mul(1024 * 1024))),
            limiter: RateLimiter::new(settings.rate_limit.max_keys, store),
            handshakes: Handshakes::new(
                settings.connections.handshakes_per_second,
                settings.connections.max_per_address,
            ),
            connections: settings.connections,
            clock,
            drain,
            shutdown: shutdown.clone(),
        });
        follow(&shared);
        watch_upstreams(&shared);
        watch_policies(settings, &shared, &openings, base.tls_files);
        Ok(Self {
            shared,
            openings,
            private,
        })
    }

    /// Accepts from now on.
    fn begin(self, settings: &Settings) -> anyhow::Result<Running> {
        let Self {
            shared,
            openings,
            private: listener,
        } = self;
        let (shutdown, drain) = (shared.shutdown.clone(), shared.drain.clone());
        let private_address = listener.local_addr()?;
        let router = private::router_with_status(shared.readiness.clone(), status::of(&shared));
        private::serve_on(listener, router, &shutdown, drain.token());
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
            .map_or(Ok(()), |file| write_endpoints(file, &addresses, private_address));
        if let Err(error) = announced {
            shutdown.trigger();
            finished.cancel();
            return Err(error);
        }
        Ok(Running {
            addresses,
            private: private_address,
            shutdown,
            drain,
            grace: Duration::from_millis(settings.shutdown_grace_ms),
            drain_within: Duration::from_millis(settings.upgrade.drain_ms),
            finished,
            workers,
            turn: None,
        })
    }
}

/// The socket of metrics and health: of the process before this one, when that has handed it over for this address.
async fn private_listener(settings: &Settings, inherited: &mut Inherited) -> anyhow::Result<TcpListener> {
    let address = settings.private_listen;
    let is_there = |socket: &std::net::TcpListener| {
        let at = socket.local_addr();
        at.is_ok_and(|at| at == address || (address.port() == 0 && at.ip() == address.ip()))
    };
    let handed_over = inherited.remove(PRIVATE).unwrap_or_default();
    match handed_over.into_iter().find(is_there) {
        Some(socket) => Ok(TcpListener::from_std(socket)?),
        None => private::bind(address).await,
    }
}

/// For the process that will take over from this one.
fn keep_sockets(drain: &Drain, openings: &[Opening], private: &TcpListener) -> anyhow::Result<()> {
    for opening in openings {
        for socket in &opening.sockets {
            drain.sockets().keep(&opening.entrance.label, socket)?;
        }
    }
    drain.sockets().keep(PRIVATE, private)
}

/// Looks at the policy directory, or at what the fleet states, and at the files that the policy names.
fn watch_policies(
    settings: &Settings,
    shared: &Arc<Shared>,
    openings: &[Opening],
    tls_files: Arc<Mutex<TlsFiles>>,
) {
    let entrances: Vec<_> = openings.iter().map(|opening| opening.entrance.clone()).collect();
    let poll = Duration::from_millis(settings.policy_poll_ms);
    let watched = shared.clone();
    let (policies, shutdown) = (shared.policies.clone(), shared.shutdown.clone());
    let looked = move |reload| {
        let plan = &watched.policies.current().plan;
        let mut files = tls_files.lock().unwrap_or_else(PoisonError::into_inner);
        entrance::after_look(plan, &mut files, &entrances, reload);
        drop(files);
        after_look(&watched, plan, reload);
    };
    if settings.follows(Stream::Policy) {
        shared
            .shutdown
            .spawn(policy_source::watch_stated(policies, poll, shutdown, looked));
    } else {
        shared
            .shutdown
            .spawn(policy_source::watch(policies, poll, shutdown, looked));
    }
}

/// What follows each look at the policy.
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

/// Watches the addresses of the policy in force.
fn watch_upstreams(shared: &Shared) {
    for pool in shared.policies.current().pools() {
        pool.watch(&shared.shutdown);
    }
}

/// Begins to ask other issuers for what is new, and whether the store of limits is up.
fn follow(shared: &Shared) {
    let (shutdown, tokens) = (&shared.shutdown, &shared.tokens);
    shutdown.spawn(cache::sweep(shared.cache.clone(), shutdown.clone()));
    shutdown.spawn(keys::follow_urls(tokens.keys.urls.clone(), shutdown.clone()));
    if let Some(keeping) = shared.limiter.keep_store(shutdown.clone()) {
        shutdown.spawn(keeping);
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

    /// Tells whoever waits for it that this gateway serves: the process that it takes over from, and the service manager.
    /// From now on this one can be replaced, by `program` with its arguments.
    pub async fn announce(&mut self, settings: &Settings, program: Vec<OsString>) {
        let upgrades = Upgrades::new(settings, program, self.drain.clone(), self.shutdown.clone());
        if let Err(error) = upgrades.listen() {
            tracing::warn!(
                error = format!("{error:#}"),
                "this process can be replaced by a restart only"
            );
        }
        if let Some(turn) = self.turn.take()
            && let Err(error) = turn.taken().await
        {
            tracing::warn!(%error, "the old process is gone already");
        }
        systemd::is_ready();
    }

    /// Waits until this gateway has to end, as [`Running::stopped`], or has drained behind another one.
    async fn has_to_stop(&self) {
        let drained = async {
            self.drain.begun().await;
            if tokio::time::timeout(self.drain_within, self.drain.done())
                .await
                .is_err()
            {
                tracing::info!("the time for draining is over: what is left is ended");
            }
        };
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = drained => self.shutdown.trigger(),
        }
    }

    /// Waits for the shutdown signal, or until another process has taken over and the connections of this one have ended
    /// or their time is over; then until every request under way is answered or the grace is over. Returns
    /// whether all were answered.
    pub async fn stopped(self) -> bool {
        self.has_to_stop().await;
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
    endpoints.insert("pid".to_owned(), std::process::id().into());
    for (label, address) in addresses {
        endpoints.insert(label.clone(), address.to_string().into());
    }
    write_atomically(file, serde_json::Value::Object(endpoints).to_string().as_bytes())
}
