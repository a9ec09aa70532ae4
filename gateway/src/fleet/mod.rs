//! A gateway in a fleet: it dials the control plane, is told by signed statements what to run, checks them, takes them
//! over, and says what it really runs.
//!
//! **Invariant:** nothing comes in force but what `fleet::admit` or `fleet::readmit` has let through. A statement that is
//! refused changes nothing but the log, a metric and what the control plane is told. Without a control plane everything
//! goes on, also over a restart.

mod address;
mod begin;
mod blobs;
mod boot;
mod compiled;
mod disk;
mod events;
mod follow;
mod link;
mod lists;
mod outbox;
mod pages;
mod policy_stream;
mod report;
mod settings;
mod shadow;
mod state;
mod take;
mod time;
mod traffic;
mod trust;

pub use settings::FleetSettings;

pub(crate) use lists::fingerprint;
pub(crate) use shadow::ShadowSlot;
pub(crate) use state::FleetState;
pub(crate) use time::FleetTime;
pub(crate) use traffic::{Answered, Traffic};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use fleet::{
    Acknowledgement, Digest, Member, Objection, Pointer, Position, Roots, Stage, StatedList, Stream, Trust,
    Version,
};
use service_runtime::clock::Clock;
use service_runtime::settings::Environment;
use service_runtime::shutdown::Shutdown;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio_util::sync::CancellationToken;

use self::blobs::Mirrors;
use self::disk::Disk;
use self::link::Dialler;
use self::outbox::Outbox;
use self::pages::Pages;
use self::policy_stream::Trial;
use self::take::Unwritten;
use crate::keys::{KeySources, KeyStore};
use crate::last_heard::LastHeard;
use crate::metrics::METRICS;
use crate::policy_source::PolicySource;
use crate::revocations::Revocations;
use crate::server::OpenSides;
use crate::settings::Settings;
use crate::standstill::Standstill;
use crate::tls::TlsFiles;

/// What this build can do beyond the first version.
const FEATURES: &[&str] = &["shadow", StatedList::FEATURE];
/// Most of an objection that the control plane is told, in bytes.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;

/// A gateway as a member of its fleet.
pub(crate) struct Fleet {
    gateway: Settings,
    settings: FleetSettings,
    environment: Environment,
    clock: Clock,
    roots: Roots,
    trust: ArcSwapOption<Trust>,
    version: Version,
    boot_id: String,
    disk: Disk,
    dialler: Dialler,
    sources: Arc<KeySources>,
    tls_files: Arc<Mutex<TlsFiles>>,
    keys: Arc<KeyStore>,
    revocations: Arc<Revocations>,
    traffic: Arc<Traffic>,
    shadow: Arc<ShadowSlot>,
    standstill: Arc<Standstill>,
    time: Arc<FleetTime>,
    state: Arc<FleetState>,
    policies: watch::Sender<Option<Arc<PolicySource>>>,
    /// The listeners, once they are open.
    open_sides: OnceLock<OpenSides>,
    outbox: Outbox,
    heard: LastHeard,
    told: Mutex<BTreeMap<Stream, Pointer>>,
    in_force: Mutex<BTreeMap<Stream, InForce>>,
    pages: Pages,
    mirrors: Mirrors,
    /// Lists and key sets that are in force, and not on the disk yet.
    unwritten: Mutex<BTreeMap<Stream, Unwritten>>,
    /// Locked while a list, a key set or a trust document is written down, one after the other.
    writing: Mutex<()>,
    /// Whoever wants to write waits here, without a thread, while a disk hangs; what is newer takes its place.
    writes_next: Arc<AsyncMutex<()>>,
    /// The policy that is not proven yet. Locked while a policy is put in force or given up, on the disk as well.
    trial: Mutex<Option<Trial>>,
}

/// A statement in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct InForce {
    position: Position,
    digest: Digest,
    /// Whether a restart would begin with it.
    is_proven: bool,
}

impl InForce {
    /// What the control plane had named it by.
    const fn pointer(self, stream: Stream) -> Pointer {
        Pointer {
            stream,
            position: self.position,
            digest: self.digest,
            bytes: 0,
            shadow: false,
        }
    }
}

/// What the gateway brings to its fleet.
pub(crate) struct Parts {
    pub(crate) sources: Arc<KeySources>,
    pub(crate) tls_files: Arc<Mutex<TlsFiles>>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) shadow: Arc<ShadowSlot>,
    pub(crate) standstill: Arc<Standstill>,
    pub(crate) time: Arc<FleetTime>,
    pub(crate) state: Arc<FleetState>,
}

impl Fleet {
    /// Opens what the gateway kept of its fleet, and puts in force what is still signed as it must be. `is_start` is false
    /// when another process serves until this one is ready.
    ///
    /// # Errors
    /// When a setting or the state directory cannot be used.
    pub(crate) fn open(
        gateway: &Settings,
        settings: &FleetSettings,
        (environment, clock): (Environment, Clock),
        shutdown: &Shutdown,
        parts: Parts,
        is_start: bool,
    ) -> anyhow::Result<Arc<Self>> {
        let disk = Disk::open(&gateway.state_dir)?;
        let boot_id = boot_id()?;
        let fleet = Self {
            gateway: gateway.clone(),
            settings: settings.clone(),
            environment,
            roots: settings.roots()?,
            trust: ArcSwapOption::empty(),
            version: env!("CARGO_PKG_VERSION").parse().map_err(anyhow::Error::msg)?,
            disk,
            dialler: Dialler::new(settings.clone(), clock.clone(), shutdown.clone(), boot_id.clone()),
            boot_id,
            clock,
            keys: parts.sources.portico.clone(),
            sources: parts.sources,
            tls_files: parts.tls_files,
            revocations: parts.revocations,
            traffic: parts.traffic,
            shadow: parts.shadow,
            standstill: parts.standstill,
            time: parts.time,
            state: parts.state,
            policies: watch::Sender::new(None),
            open_sides: OnceLock::new(),
            outbox: Outbox::default(),
            heard: LastHeard::never(),
            told: Mutex::default(),
            in_force: Mutex::default(),
            pages: Pages::default(),
            mirrors: Mirrors::default(),
            unwritten: Mutex::default(),
            writing: Mutex::default(),
            writes_next: Arc::default(),
            trial: Mutex::default(),
        };
        fleet.read_trust();
        fleet.boot(is_start);
        fleet.begin_with_file();
        fleet.tell_what_it_holds();
        Ok(Arc::new(fleet))
    }

    /// Follows the control plane until shutdown, and speaks for the gateway until `handed_over`: whoever still holds
    /// connections must hear what is revoked.
    pub(crate) fn follow(self: &Arc<Self>, shutdown: &Shutdown, handed_over: &CancellationToken) {
        let mut pointers = BTreeMap::new();
        for stream in self.streams() {
            let (sender, receiver) = watch::channel(None);
            pointers.insert(stream, sender);
            shutdown.spawn(take::follow(self.clone(), receiver, shutdown.child()));
        }
        self.standstill.starts();
        if let Err(error) = self.standstill.clone().watch(shutdown.child()) {
            tracing::error!(%error, "a standstill of this process will not be noticed");
        }
        shutdown.spawn(follow::follow(self.clone(), pointers, shutdown.child()));
        shutdown.spawn(report::report(self.clone(), handed_over.clone()));
        shutdown.spawn(policy_stream::watch_trial(self.clone(), handed_over.clone()));
    }

    /// The streams that are followed.
    fn streams(&self) -> impl Iterator<Item = Stream> {
        Stream::ALL
            .into_iter()
            .filter(|stream| self.gateway.follows(*stream))
    }

    /// A policy of a directory is in force: the heartbeats say so.
    pub(crate) fn runs(&self, policies: &Arc<PolicySource>) {
        self.policies.send_replace(Some(policies.clone()));
    }

    /// The listeners are open. What a policy adds, moves or removes from now on waits for another process.
    pub(crate) fn listens(&self, sides: OpenSides) {
        if self.open_sides.set(sides).is_ok() {
            self.tell_stage();
        }
    }

    /// Sides of listeners that are not open as the policy in force says.
    fn waiting(&self) -> Vec<String> {
        let Some(policies) = self.policies() else {
            return Vec::new();
        };
        let plan = &policies.current().plan;
        let waiting = match self.open_sides.get() {
            Some(open) => open.waiting(plan),
            None => OpenSides::default().waiting(plan),
        };
        waiting.into_iter().collect()
    }

    /// The policies, where there are any yet.
    pub(crate) fn policies(&self) -> Option<Arc<PolicySource>> {
        self.policies.borrow().clone()
    }

    /// Waits until there is a policy; `None` when the gateway is to end before.
    pub(crate) async fn first_policy(&self, shutdown: &Shutdown) -> Option<Arc<PolicySource>> {
        let mut policies = self.policies.subscribe();
        tokio::select! {
            () = shutdown.cancelled() => None,
            found = policies.wait_for(Option::is_some) => found.ok().and_then(|found| found.clone()),
        }
    }

    /// Does what may wait for a disk beside everything else: a disk may hang, and what is revoked must be heard.
    async fn beside<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let fleet = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&fleet)).await;
        done.context("work that was done beside")
    }

    /// Whether this process speaks for the gateway. It does from the moment on in which the one before it has handed over.
    async fn speaks(self: &Arc<Self>) -> bool {
        if self.disk.is_anothers()
            && let Err(error) = self.beside(|fleet| fleet.claim_disk()).await
        {
            tracing::error!(
                error = format!("{error:#}"),
                "the state of the fleet is not taken over"
            );
        }
        self.disk.is_ours()
    }

    /// Not while something is written down: half of it would be left to the process before this one.
    fn claim_disk(&self) {
        let writing = lock(&self.writing);
        self.disk.claim();
        drop(writing);
        if self.disk.is_ours() {
            self.tell_what_it_holds();
        }
    }

    /// The state was read from the disk. The control plane names no list that a gateway holds, so the gateway says by itself how far
    /// it is with that: or else nobody would hear that it can take nothing more over, nor that it can again.
    fn tell_what_it_holds(&self) {
        self.state.set(self.disk.is_good());
        for stream in self.streams() {
            if let Some(in_force) = self.in_force(stream) {
                self.tell(&in_force.pointer(stream), self.stage_of(in_force));
            }
        }
    }

    fn member(&self) -> Member<'_> {
        Member {
            fleet: &self.settings.name,
            environment: self.environment.as_str(),
            name: &self.settings.node,
            version: self.version,
            features: FEATURES,
        }
    }

    fn now(&self) -> i64 {
        self.clock.now().timestamp()
    }

    fn in_force(&self, stream: Stream) -> Option<InForce> {
        lock(&self.in_force).get(&stream).copied()
    }

    fn is_in_force(&self, stream: Stream, in_force: InForce) {
        lock(&self.in_force).insert(stream, in_force);
        let seq = i64::try_from(in_force.position.seq).unwrap_or(i64::MAX);
        METRICS.fleet_seq.with_label_values(&[stream.as_str()]).set(seq);
    }

    /// Tells the control plane how far it is with what a pointer names. Whoever can take nothing over is not shown as one that
    /// does well, whatever it holds.
    fn tell(&self, pointer: &Pointer, stage: Stage) {
        if self.disk.is_good() {
            self.outbox.put(acknowledgement(pointer, stage, None));
        } else {
            self.refuse(pointer, state::damaged());
        }
    }

    /// Tells the control plane, the log and a metric why a statement is not in force.
    fn refuse(&self, pointer: &Pointer, mut objection: Objection) {
        let most = objection.message.floor_char_boundary(MAX_MESSAGE_BYTES);
        objection.message.truncate(most);
        let stream = pointer.stream.as_str();
        METRICS
            .fleet_refusals
            .with_label_values(&[stream, objection.code.as_str()])
            .inc();
        tracing::error!(
            stream,
            position = %pointer.position,
            code = objection.code,
            path = objection.path,
            error = objection.message,
            "a statement of the control plane is refused: what is in force stays"
        );
        self.outbox
            .put(acknowledgement(pointer, Stage::Refused, Some(objection)));
    }
}

fn acknowledgement(pointer: &Pointer, stage: Stage, objection: Option<Objection>) -> Acknowledgement {
    Acknowledgement {
        stream: pointer.stream,
        position: pointer.position,
        digest: pointer.digest,
        shadow: pointer.shadow,
        stage,
        objection,
    }
}

/// A name that no other start has.
fn boot_id() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 8];
    aws_lc_rs::rand::fill(&mut bytes).context("random numbers")?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
