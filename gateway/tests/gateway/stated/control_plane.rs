//! A control plane as a script: over mutual TLS or a socket, with keys of its own, and able to send everything that is
//! wrong.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use fleet::{
    Acknowledgement, Digest, Envelope, Exported, Heartbeat, Pointer, PolicyContent, PolicyFile, Position,
    Signature, Stage, Statement, Stream, Target, Trust, TrustedKey, Version, to_be_signed,
};
use gateway::Settings;
use gateway::settings::FleetSettings;
use keyring::{Algorithm, KeySet, KeyState, SigningKey};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::Value;
use serde_json::value::to_raw_value;
use service_runtime::clock::Clock;
use service_runtime::shutdown::Shutdown;
use service_runtime::tls::{TlsService, TlsSettings, serve_tls};
use tempfile::TempDir;
use tokio::net::{TcpSocket, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::authority::Authority;
use crate::gateway_process::{OVERLAY, now};

pub(crate) const DAY: i64 = 86_400;
const COMMENT: Duration = Duration::from_millis(250);

/// What a blob is answered with.
#[derive(Clone)]
pub(crate) enum Blob {
    Whole(Vec<u8>),
    /// Ends before its announced length.
    CutOff(Vec<u8>),
}

#[derive(Default)]
struct Script {
    pointers: HashMap<Stream, Pointer>,
    blobs: HashMap<String, Blob>,
    trust: Option<Vec<u8>>,
    streams: Vec<mpsc::UnboundedSender<String>>,
    is_silent: bool,
    /// What time it is, in the answers to heartbeats; it says nothing of the time without, as an older control plane.
    time: Option<DateTime<Utc>>,
    opened: Vec<String>,
    acknowledgements: Vec<Acknowledgement>,
    heartbeats: Vec<Heartbeat>,
    fetched: usize,
}

type Shared = Arc<Mutex<Script>>;

/// Where gateways come in.
enum Door {
    Tls {
        address: SocketAddr,
        folder: TempDir,
        /// Bound and deaf: nobody else gets the port while the control plane is dead.
        _held: TcpSocket,
    },
    Socket(PathBuf),
}

pub(crate) struct ControlPlane {
    pub(crate) root: SigningKey,
    /// The key of the `bundle` ring.
    pub(crate) bundle: SigningKey,
    /// The key that signs tokens.
    pub(crate) access: SigningKey,
    door: Door,
    /// When what it says counts, Unix seconds.
    times: Range<i64>,
    script: Shared,
    seqs: Mutex<HashMap<Stream, u64>>,
    trust_version: Mutex<u64>,
    running: Option<(Runtime, Shutdown)>,
}

impl ControlPlane {
    /// With a trust document, a key set, and this policy.
    pub(crate) async fn start(policy: &str) -> Self {
        let fleet = Self::empty();
        fleet.trust(&[TrustedKey::new(
            fleet.bundle.public(),
            fleet.times.start - DAY,
            fleet.times.end,
        )]);
        fleet.state(Stream::Keyset, &fleet.key_set());
        fleet.state_policy(policy);
        fleet
    }

    /// Without a word to say.
    pub(crate) fn empty() -> Self {
        service_runtime::crypto::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("Fleet CA");
        authority
            .issue(&["localhost"])
            .write(folder.path(), "control-plane");
        let for_clients = |name: &str| {
            authority.issue_with(&[name], |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            })
        };
        for_clients("edge-1").write(folder.path(), "edge-1");
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        let held = TcpSocket::new_v4().unwrap();
        held.set_reuseaddr(true).unwrap();
        held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = held.local_addr().unwrap();
        let from_now = now().timestamp()..now().timestamp() + DAY;
        let door = Door::Tls {
            address,
            folder,
            _held: held,
        };
        Self::behind(door, from_now)
    }

    /// On a socket, with a trust document. What it says counts by every clock.
    pub(crate) fn on_socket(path: &Path) -> Self {
        let fleet = Self::behind(Door::Socket(path.to_owned()), 0..now().timestamp() + 10_000 * DAY);
        let Range { start, end } = fleet.times;
        fleet.trust(&[TrustedKey::new(fleet.bundle.public(), start, end)]);
        fleet
    }

    fn behind(door: Door, times: Range<i64>) -> Self {
        let key = || SigningKey::generate(Algorithm::EdDSA).unwrap();
        let mut fleet = Self {
            root: key(),
            bundle: key(),
            access: key(),
            door,
            times,
            script: Shared::default(),
            seqs: Mutex::default(),
            trust_version: Mutex::new(0),
            running: None,
        };
        fleet.revive();
        fleet
    }

    /// Makes a gateway a member that is told everything.
    pub(crate) fn join(&self, settings: &mut Settings) {
        settings.policies_dir = PathBuf::new();
        settings.fleet = Some(self.membership());
    }

    pub(crate) fn membership(&self) -> FleetSettings {
        let member = FleetSettings {
            name: "bank".to_owned(),
            node: "edge-1".to_owned(),
            roots: vec![TrustedKey::new(self.root.public(), 0, 0).public],
            ..FleetSettings::default()
        };
        match &self.door {
            Door::Tls { address, folder, .. } => FleetSettings {
                control_plane: format!("https://localhost:{}", address.port()),
                ca: folder.path().join("ca.pem"),
                certificate: folder.path().join("edge-1.pem"),
                key: folder.path().join("edge-1.key"),
                ..member
            },
            Door::Socket(path) => FleetSettings {
                control_plane: format!("unix:{}", path.display()),
                ..member
            },
        }
    }

    /// The control plane is gone.
    pub(crate) fn kill(&mut self) {
        let (runtime, _) = self.running.take().expect("the control plane runs");
        self.script.lock().unwrap().streams.clear();
        // Its address is free when this is over.
        let ended = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(10)));
        ended.join().unwrap();
        if let Door::Socket(path) = &self.door {
            std::fs::remove_file(path).unwrap();
        }
    }

    pub(crate) fn revive(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let router = router(self.script.clone());
        let shutdown = Shutdown::new();
        match &mut self.door {
            Door::Tls { address, folder, .. } => {
                let settings = TlsSettings {
                    listen: *address,
                    certificate_file: folder.path().join("control-plane.pem"),
                    key_file: folder.path().join("control-plane.key"),
                    client_authority_file: folder.path().join("ca.pem"),
                    client_names: vec!["edge-1".to_owned()],
                };
                let stop = shutdown.clone();
                let (bound, told) = std::sync::mpsc::channel();
                runtime.spawn(async move {
                    let service = TlsService::bind(&settings, Clock::system()).await.unwrap();
                    bound.send(service.address()).unwrap();
                    serve_tls(service, router, stop).await.unwrap();
                });
                *address = told.recv().unwrap();
            }
            Door::Socket(path) => {
                let context = runtime.enter();
                let listener = UnixListener::bind(path).unwrap();
                drop(context);
                runtime.spawn(async move { axum::serve(listener, router).await.unwrap() });
            }
        }
        self.running = Some((runtime, shutdown));
    }

    /// What `portico fleet export` would print.
    pub(crate) fn exported(&self) -> Exported {
        let script = self.script.lock().unwrap();
        let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
        let statements = script.pointers.values().map(|pointer| {
            let Blob::Whole(bytes) = &script.blobs[&pointer.digest.to_string()] else {
                panic!("half an envelope")
            };
            text(bytes)
        });
        Exported {
            trust: text(script.trust.as_ref().unwrap()),
            statements: statements.collect(),
            pages: Vec::new(),
        }
    }

    /// Publishes a trust document with these keys.
    pub(crate) fn trust(&self, keys: &[TrustedKey]) {
        self.trust_by(&[&self.root], keys);
    }

    /// One that these roots have signed.
    pub(crate) fn trust_by(&self, roots: &[&SigningKey], keys: &[TrustedKey]) {
        let mut version = self.trust_version.lock().unwrap();
        *version += 1;
        let trust = Trust {
            version: *version,
            fleet: "bank".to_owned(),
            created_at: now().timestamp(),
            keys: keys.to_vec(),
        };
        let payload = serde_json::to_vec(&trust).unwrap();
        let bytes = seal(Trust::PAYLOAD_TYPE, payload, roots);
        self.script.lock().unwrap().trust = Some(bytes);
    }

    /// Publishes a document with the first version again.
    pub(crate) fn restore_trust(&self, keys: &[TrustedKey]) {
        *self.trust_version.lock().unwrap() = 0;
        self.trust(keys);
    }

    pub(crate) fn key_set(&self) -> KeySet {
        KeySet {
            seq: 1,
            keys: vec![self.access.public_key(KeyState::Active)],
            revoked_kids: Vec::new(),
        }
    }

    /// A token that the key of this control plane signs.
    pub(crate) fn token(&self, changes: &Value) -> String {
        self.access.sign(&crate::key_service::claims(changes)).unwrap()
    }

    /// The next statement of a stream, good in every way.
    pub(crate) fn next<T: serde::Serialize>(&self, stream: Stream, content: &T) -> Statement {
        let mut seqs = self.seqs.lock().unwrap();
        let seq = seqs.entry(stream).or_default();
        *seq += 1;
        Statement {
            stream,
            position: Position { epoch: 1, seq: *seq },
            previous: None,
            created_at: self.times.start,
            expires_at: self.times.end,
            target: Target {
                fleet: "bank".to_owned(),
                environment: "test".to_owned(),
                nodes: Vec::new(),
            },
            schema: Statement::SCHEMA,
            min_version: Version(0, 0, 1),
            features: Vec::new(),
            change_id: "change".to_owned(),
            author: "ada".to_owned(),
            approvers: vec!["grace".to_owned()],
            content: to_raw_value(content).unwrap(),
        }
    }

    /// The envelope of a statement, signed by the key of the bundle ring.
    pub(crate) fn sealed(&self, statement: &Statement) -> Vec<u8> {
        self.sealed_by(statement, &[&self.bundle])
    }

    pub(crate) fn sealed_by(&self, statement: &Statement, keys: &[&SigningKey]) -> Vec<u8> {
        seal(
            statement.stream.payload_type(),
            serde_json::to_vec(statement).unwrap(),
            keys,
        )
    }

    /// States something, and tells the gateway.
    pub(crate) fn state<T: serde::Serialize>(&self, stream: Stream, content: &T) -> Pointer {
        let statement = self.next(stream, content);
        self.offer(stream, statement.position, &self.sealed(&statement))
    }

    /// States a policy without cases.
    pub(crate) fn state_policy(&self, policy: &str) -> Pointer {
        self.state(Stream::Policy, &content(policy, &[]))
    }

    /// Tells the gateway of an envelope.
    pub(crate) fn offer(&self, stream: Stream, position: Position, bytes: &[u8]) -> Pointer {
        let pointer = pointer(stream, position, bytes);
        self.offer_as(&pointer, Blob::Whole(bytes.to_vec()));
        pointer
    }

    /// Tells the gateway of an envelope that is only to be tried.
    pub(crate) fn offer_in_shadow(&self, statement: &Statement) -> Pointer {
        let bytes = self.sealed(statement);
        let pointer = Pointer {
            shadow: true,
            ..pointer(statement.stream, statement.position, &bytes)
        };
        self.offer_as(&pointer, Blob::Whole(bytes));
        pointer
    }

    /// Sends this pointer, and answers with this blob.
    pub(crate) fn offer_as(&self, pointer: &Pointer, blob: Blob) {
        let mut script = self.script.lock().unwrap();
        script.blobs.insert(pointer.digest.to_string(), blob);
        script.pointers.insert(pointer.stream, pointer.clone());
        let text = event(pointer);
        script.streams.retain(|stream| stream.send(text.clone()).is_ok());
    }

    /// Answers with this blob when it is asked for.
    pub(crate) fn hand_out(&self, digest: Digest, blob: Blob) {
        self.script.lock().unwrap().blobs.insert(digest.to_string(), blob);
    }

    /// Has nothing of this name any more.
    pub(crate) fn withhold(&self, digest: Digest) {
        self.script.lock().unwrap().blobs.remove(&digest.to_string());
    }

    /// Sends any text over the streams that are open.
    pub(crate) fn say(&self, text: &str) {
        let mut script = self.script.lock().unwrap();
        script
            .streams
            .retain(|stream| stream.send(text.to_owned()).is_ok());
    }

    /// From now on heartbeats are answered with this time.
    pub(crate) fn tell_time(&self, time: DateTime<Utc>) {
        self.script.lock().unwrap().time = Some(time);
    }

    /// From now on streams are open and nothing comes.
    pub(crate) fn be_silent(&self, is_silent: bool) {
        self.script.lock().unwrap().is_silent = is_silent;
    }

    /// Ends the silence with everything that it has to say.
    pub(crate) fn speak(&self) {
        let mut script = self.script.lock().unwrap();
        script.is_silent = false;
        let pointers: String = script.pointers.values().map(event).collect();
        let all = format!("{pointers}: here\n\n");
        script.streams.retain(|stream| stream.send(all.clone()).is_ok());
    }

    /// What the streams were opened with.
    pub(crate) fn opened(&self) -> Vec<String> {
        self.script.lock().unwrap().opened.clone()
    }

    /// How many blobs were handed out.
    pub(crate) fn fetched(&self) -> usize {
        self.script.lock().unwrap().fetched
    }

    pub(crate) fn acknowledgements(&self) -> Vec<Acknowledgement> {
        self.script.lock().unwrap().acknowledgements.clone()
    }

    pub(crate) fn forget_acknowledgements(&self) {
        self.script.lock().unwrap().acknowledgements.clear();
    }

    pub(crate) fn heartbeats(&self) -> Vec<Heartbeat> {
        self.script.lock().unwrap().heartbeats.clone()
    }

    /// The stages that a pointer has come to, in order.
    pub(crate) fn stages(&self, pointer: &Pointer) -> Vec<Stage> {
        let all = self.acknowledgements();
        let of_pointer = all
            .iter()
            .filter(|it| it.digest == pointer.digest && it.shadow == pointer.shadow);
        let mut stages: Vec<_> = of_pointer.map(|it| it.stage).collect();
        stages.dedup();
        stages
    }

    /// Waits until the gateway has told this stage.
    pub(crate) async fn told(&self, pointer: &Pointer, stage: Stage) -> Acknowledgement {
        let mut found = None;
        let what = format!("{} of {} {}", stage.as_str(), pointer.stream, pointer.position);
        let shown = || format!("{what}; it came to {:?}", self.stages(pointer));
        patiently(shown, || {
            let all = self.acknowledgements();
            let is_it = |it: &&Acknowledgement| {
                it.digest == pointer.digest && it.shadow == pointer.shadow && it.stage == stage
            };
            found = all.iter().rev().find(is_it).cloned();
            std::future::ready(found.is_some())
        })
        .await;
        found.unwrap()
    }

    /// Waits until a pointer is refused; the code.
    pub(crate) async fn refused(&self, pointer: &Pointer) -> String {
        let told = self.told(pointer, Stage::Refused).await;
        let objection = told.objection.expect("a refusal says why");
        assert!(!objection.message.is_empty());
        objection.code
    }

    /// Waits for a heartbeat that was sent after this call, and of which this holds.
    pub(crate) async fn beats(&self, what: &str, condition: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        let before = self.heartbeats().len();
        let mut found = None;
        patiently(
            || what.to_owned(),
            || {
                found = self.heartbeats().into_iter().skip(before).find(&condition);
                std::future::ready(found.is_some())
            },
        )
        .await;
        found.unwrap()
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if let Some((runtime, _)) = self.running.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits for a condition, at most a minute.
pub(crate) async fn patiently<F, Fut>(what: impl Fn() -> String, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let waiting = async {
        loop {
            ticks.tick().await;
            if condition().await {
                return;
            }
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    waited.unwrap_or_else(|_| panic!("never: {}", what()));
}

/// A policy with cases.
pub(crate) fn content(policy: &str, cases: &[(&str, &str)]) -> PolicyContent {
    let file = |(name, text): &(&str, &str)| PolicyFile {
        name: (*name).to_owned(),
        text: (*text).to_owned(),
    };
    let files = [("base.yaml", policy), ("environments/test.yaml", OVERLAY)];
    PolicyContent {
        files: files.iter().map(file).collect(),
        cases: cases.iter().map(file).collect(),
    }
}

pub(crate) fn pointer(stream: Stream, position: Position, bytes: &[u8]) -> Pointer {
    Pointer {
        stream,
        position,
        digest: Digest::of(bytes),
        bytes: u64::try_from(bytes.len()).unwrap(),
        shadow: false,
    }
}

fn seal(payload_type: &str, payload: Vec<u8>, keys: &[&SigningKey]) -> Vec<u8> {
    let signed = to_be_signed(payload_type, &payload);
    let signature = |key: &&SigningKey| Signature {
        keyid: key.kid().to_owned(),
        sig: key.sign_bytes(&signed).unwrap(),
    };
    let envelope = Envelope {
        payload_type: payload_type.to_owned(),
        signatures: keys.iter().map(signature).collect(),
        payload,
    };
    envelope.to_bytes()
}

fn event(pointer: &Pointer) -> String {
    format!(
        "event: pointer\ndata: {}\n\n",
        serde_json::to_string(pointer).unwrap()
    )
}

fn router(script: Shared) -> Router {
    Router::new()
        .route("/fleet/v1/stream", get(stream))
        .route("/fleet/v1/blobs/{digest}", get(blob))
        .route("/fleet/v1/trust", get(trust))
        .route("/fleet/v1/acknowledgements", post(acknowledge))
        .route("/fleet/v1/heartbeats", post(beat))
        .with_state(script)
}

async fn stream(State(script): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let (sender, receiver) = mpsc::unbounded_channel();
    {
        let mut script = script.lock().unwrap();
        script.opened.push(query.unwrap_or_default());
        if !script.is_silent {
            for pointer in script.pointers.values() {
                sender.send(event(pointer)).unwrap();
            }
        }
        script.streams.push(sender);
    }
    let text = futures::stream::unfold((receiver, script), |(mut receiver, script)| async {
        loop {
            let text = tokio::select! {
                text = receiver.recv() => text?,
                () = tokio::time::sleep(COMMENT) => ": here\n\n".to_owned(),
            };
            if !script.lock().unwrap().is_silent {
                return Some((Ok::<_, std::io::Error>(text), (receiver, script)));
            }
        }
    });
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(Body::from_stream(text))
        .unwrap()
}

async fn blob(State(script): State<Shared>, uri: http::Uri) -> Response {
    let digest = uri.path().rsplit('/').next().unwrap();
    let found = script.lock().unwrap().blobs.get(digest).cloned();
    script.lock().unwrap().fetched += usize::from(found.is_some());
    match found {
        None => status(404),
        Some(Blob::Whole(bytes)) => Response::new(Body::from(bytes)),
        Some(Blob::CutOff(bytes)) => {
            let half = bytes[..bytes.len() / 2].to_vec();
            let parts = futures::stream::iter([Ok(half), Err(std::io::Error::other("cut off"))]);
            Response::builder()
                .header("content-length", bytes.len())
                .body(Body::from_stream(parts))
                .unwrap()
        }
    }
}

async fn trust(State(script): State<Shared>) -> Response {
    let trust = script.lock().unwrap().trust.clone();
    trust.map_or_else(|| status(404), |bytes| Response::new(Body::from(bytes)))
}

async fn acknowledge(State(script): State<Shared>, body: Bytes) -> Response {
    let told = serde_json::from_slice(&body).unwrap();
    script.lock().unwrap().acknowledgements.push(told);
    status(204)
}

async fn beat(State(script): State<Shared>, body: Bytes) -> Response {
    let told = serde_json::from_slice(&body).unwrap();
    let mut script = script.lock().unwrap();
    script.heartbeats.push(told);
    let mut answer = status(204);
    if let Some(time) = script.time {
        answer
            .headers_mut()
            .insert("x-time", time.timestamp_millis().into());
    }
    answer
}

fn status(status: u16) -> Response {
    Response::builder().status(status).body(Body::empty()).unwrap()
}
