//! Serving a router over TLS 1.3 for known clients, with files that change while connections go on (TLS-8).
//!
//! **Invariant:** every request comes from a client that would be admitted by the files in force, also on a connection
//! that is older than they are.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::serve::{IncomingStream, Listener};
use chrono::{DateTime, Utc};
use http::{HeaderValue, header};
use problem::{Problem, catalogue};
use prometheus::{IntCounterVec, IntGauge, register_int_counter_vec, register_int_gauge};
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::clients::{ForClients, expected_clients};
use super::clock::ClockTime;
use super::expiry;
use super::pair::{Pair, check_pair, parse, uri_and_dns_names, validity};
use super::settings::TlsSettings;
use crate::clock::Clock;
use crate::shutdown::Shutdown;

/// How often the files are read again.
const LOOK: Duration = Duration::from_secs(2);
/// How long a handshake may take, and what a refused client may take to read why.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Handshakes that go on at once; more wait to be accepted.
const MOST_HANDSHAKES: usize = 256;
/// Largest file.
const MOST_BYTES: u64 = 1024 * 1024;

struct Metrics {
    handshakes: IntCounterVec,
    certificate_ok: IntGauge,
    certificate_expires_at: IntGauge,
}

#[expect(
    clippy::expect_used,
    reason = "names and labels are constants: a wrong one fails in every test"
)]
static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    handshakes: register_int_counter_vec!(
        "portico_service_tls_handshakes_total",
        "Handshakes of clients of this service, by outcome.",
        &["outcome"]
    )
    .expect("the metric is registered once"),
    certificate_ok: register_int_gauge!(
        "portico_service_certificate_ok",
        "1 when the TLS files in force are what lies on the disk, 0 when that is wrong or missing."
    )
    .expect("the metric is registered once"),
    certificate_expires_at: register_int_gauge!(
        "portico_service_certificate_expires_timestamp_seconds",
        "When the certificate of this service ends, Unix time."
    )
    .expect("the metric is registered once"),
});

/// Everything that the files say, checked as a whole.
pub(super) struct Served {
    files: Files,
    config: Arc<ServerConfig>,
    clients: Arc<ForClients>,
    not_before: DateTime<Utc>,
    not_after: DateTime<Utc>,
}

#[derive(PartialEq, Eq)]
struct Files {
    pair: Pair,
    authorities: Vec<u8>,
}

impl Files {
    fn read(settings: &TlsSettings) -> anyhow::Result<Self> {
        Ok(Self {
            pair: Pair {
                chain: read(&settings.certificate_file)?,
                key: read(&settings.key_file)?,
            },
            authorities: read(&settings.client_authority_file)?,
        })
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let reading = || format!("cannot read {}", path.display());
    let length = std::fs::metadata(path).with_context(reading)?;
    if !length.is_file() || length.len() > MOST_BYTES {
        bail!("{}: not a regular file of at most 1 MiB", path.display());
    }
    std::fs::read(path).with_context(reading)
}

impl Served {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// The first check that fails, with the file.
    pub(super) fn load(settings: &TlsSettings, admitted: Admitted, clock: &Clock) -> anyhow::Result<Self> {
        Self::of(Files::read(settings)?, settings, admitted, clock)
    }

    fn of(files: Files, settings: &TlsSettings, admitted: Admitted, clock: &Clock) -> anyhow::Result<Self> {
        let names = match admitted {
            Admitted::Named => Some(settings.client_names.as_slice()),
            Admitted::Any => None,
        };
        let now = clock.now();
        let pair =
            check_pair(&files.pair, now).with_context(|| settings.certificate_file.display().to_string())?;
        let clients = expected_clients(&files.authorities, names, now)
            .with_context(|| settings.client_authority_file.display().to_string())?;
        let clients = Arc::new(clients);
        let provider = crate::crypto::shared_provider();
        let mut config = ServerConfig::builder_with_details(provider, Arc::new(ClockTime(clock.clone())))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(clients.clone())
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair.key)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A resumed session would bring back a client without asking whether it is still expected.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Self {
            files,
            config: Arc::new(config),
            clients,
            not_before: pair.not_before,
            not_after: pair.not_after,
        })
    }
}

/// Which clients of the authority are admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admitted {
    /// Those with one of the names in the settings.
    Named,
    /// All of them: their names are looked at by whoever answers, as [`ClientNames`].
    Any,
}

/// The URI and DNS names in the certificate of the client, in every request that it sends.
#[derive(Debug, Clone)]
pub struct ClientNames(Arc<[String]>);

impl ClientNames {
    /// The names, DNS names in lower case.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// A listener that is bound, with good files.
pub struct TlsService {
    listener: TcpListener,
    address: SocketAddr,
    settings: TlsSettings,
    admitted: Admitted,
    clock: Clock,
    current: Arc<ArcSwap<Served>>,
}

impl TlsService {
    /// Reads the files and binds the address.
    ///
    /// # Errors
    /// When a file is wrong or the address is taken.
    pub async fn bind(settings: &TlsSettings, clock: Clock) -> anyhow::Result<Self> {
        Self::bind_for(settings, Admitted::Named, clock).await
    }

    /// The same, for every client of the authority, whatever its name: requests carry it as [`ClientNames`].
    ///
    /// # Errors
    /// When a file is wrong or the address is taken.
    pub async fn bind_for_any_client(settings: &TlsSettings, clock: Clock) -> anyhow::Result<Self> {
        Self::bind_for(settings, Admitted::Any, clock).await
    }

    async fn bind_for(settings: &TlsSettings, admitted: Admitted, clock: Clock) -> anyhow::Result<Self> {
        let served = Served::load(settings, admitted, &clock)?;
        let listener = TcpListener::bind(settings.listen)
            .await
            .with_context(|| format!("tls.listen: cannot bind {}", settings.listen))?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            settings: settings.clone(),
            admitted,
            clock,
            current: Arc::new(ArcSwap::from_pointee(served)),
        })
    }

    /// The bound address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves until `shutdown`, then finishes the requests under way.
///
/// # Errors
/// When serving fails.
pub async fn serve_tls(service: TlsService, router: Router, shutdown: Shutdown) -> anyhow::Result<()> {
    let address = service.address;
    shutdown.spawn(follow_files(
        service.settings,
        service.admitted,
        service.current.clone(),
        service.clock.clone(),
        shutdown.clone(),
    ));
    let (ready, connections) = mpsc::channel(MOST_HANDSHAKES);
    shutdown.spawn(accept(
        service.listener,
        service.current.clone(),
        ready,
        shutdown.clone(),
    ));
    let standing = Standing {
        current: service.current,
        clock: service.clock,
    };
    let router = router
        .layer(from_fn_with_state(standing, refuse_fallen))
        .into_make_service_with_connect_info::<Peer>();
    tracing::info!(%address, "listening over TLS, for known clients only");
    let stop = shutdown.clone();
    axum::serve(Handshaken(connections), router)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
        .with_context(|| format!("serving {address}"))?;
    tracing::info!("every request is answered, the listener is closed");
    Ok(())
}

/// Takes over files that changed and are good; the old ones stay otherwise.
async fn follow_files(
    settings: TlsSettings,
    admitted: Admitted,
    current: Arc<ArcSwap<Served>>,
    clock: Clock,
    shutdown: Shutdown,
) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut told_fault, mut told_stage) = (None, 0);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let fault = look(&settings, admitted, &current, &clock).err();
        METRICS.certificate_ok.set(i64::from(fault.is_none()));
        let fault = fault.map(|error| format!("{error:#}"));
        if let Some(error) = fault.as_ref().filter(|_| fault != told_fault) {
            tracing::error!(error, "the new TLS files are wrong: the old ones stay");
        }
        told_fault = fault;
        let served = current.load();
        METRICS.certificate_expires_at.set(served.not_after.timestamp());
        let now = clock.now();
        let stage = expiry::stage(served.not_before, served.not_after, now);
        if stage > told_stage {
            expiry::tell("tls.certificate_file", served.not_after, stage, now);
        }
        told_stage = stage;
    }
}

fn look(
    settings: &TlsSettings,
    admitted: Admitted,
    current: &ArcSwap<Served>,
    clock: &Clock,
) -> anyhow::Result<()> {
    let files = Files::read(settings)?;
    if current.load().files == files {
        return Ok(());
    }
    let served = Served::of(files, settings, admitted, clock)?;
    current.store(Arc::new(served));
    tracing::info!("new TLS files are in force");
    Ok(())
}

/// The certificate that a client has shown.
#[derive(Debug)]
struct Client {
    chain: Vec<CertificateDer<'static>>,
    names: ClientNames,
    first_end: DateTime<Utc>,
    /// Who has admitted it last.
    admitted_by: ArcSwap<ForClients>,
}

impl Client {
    fn of(stream: &TlsStream<TcpStream>, admitted_by: Arc<ForClients>) -> Option<Self> {
        let chain: Vec<_> = stream
            .get_ref()
            .1
            .peer_certificates()?
            .iter()
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        let ends = chain
            .iter()
            .map(|certificate| Some(validity(&parse(certificate).ok()?).ok()?.1));
        let first_end = ends.collect::<Option<Vec<_>>>()?.into_iter().min()?;
        let names = uri_and_dns_names(&parse(chain.first()?).ok()?)?;
        Some(Self {
            names: ClientNames(names.into()),
            chain,
            first_end,
            admitted_by: ArcSwap::new(admitted_by),
        })
    }

    /// Whether it would be admitted now.
    fn stands(&self, clients: &Arc<ForClients>, now: DateTime<Utc>) -> Result<(), rustls::Error> {
        if Arc::ptr_eq(&self.admitted_by.load(), clients) && now < self.first_end {
            return Ok(());
        }
        clients.admit(&self.chain, now)?;
        self.admitted_by.store(clients.clone());
        Ok(())
    }
}

/// Connections whose handshake is done.
struct Handshaken(mpsc::Receiver<(TlsStream<TcpStream>, Arc<Client>)>);

impl Listener for Handshaken {
    type Io = TlsStream<TcpStream>;
    type Addr = Arc<Client>;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.0.recv().await {
            Some(connection) => connection,
            // Nobody accepts any more: the service stops.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

#[derive(Clone)]
struct Peer(Arc<Client>);

impl Connected<IncomingStream<'_, Handshaken>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Handshaken>) -> Self {
        Self(stream.remote_addr().clone())
    }
}

#[derive(Clone)]
struct Standing {
    current: Arc<ArcSwap<Served>>,
    clock: Clock,
}

/// A client that would not be admitted any more gets one answer, and no other.
async fn refuse_fallen(
    State(standing): State<Standing>,
    ConnectInfo(Peer(client)): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let clients = standing.current.load().clients.clone();
    let Err(error) = client.stands(&clients, standing.clock.now()) else {
        request.extensions_mut().insert(client.names.clone());
        return next.run(request).await;
    };
    METRICS.handshakes.with_label_values(&["fallen"]).inc();
    tracing::warn!(%error, "a client of an open connection is not admitted any more");
    let mut response = Problem::new(catalogue::UNAVAILABLE).into_response();
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn accept(
    listener: TcpListener,
    current: Arc<ArcSwap<Served>>,
    ready: mpsc::Sender<(TlsStream<TcpStream>, Arc<Client>)>,
    shutdown: Shutdown,
) {
    let handshakes = Arc::new(Semaphore::new(MOST_HANDSHAKES));
    loop {
        let Ok(permit) = handshakes.clone().acquire_owned().await else {
            return;
        };
        let (socket, peer) = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener_accept(&listener) => accepted,
        };
        let (served, ready) = (current.load_full(), ready.clone());
        shutdown.spawn(async move {
            let shaken = timeout(HANDSHAKE, shake(socket, peer, &served)).await;
            drop(permit);
            let outcome = match shaken {
                Ok(Some(connection)) => {
                    // Fails when the service stops.
                    let _ = ready.send(connection).await;
                    "good"
                }
                Ok(None) => "refused",
                Err(_) => "timeout",
            };
            METRICS.handshakes.with_label_values(&[outcome]).inc();
        });
    }
}

/// The listener of axum waits when file descriptors run out.
async fn listener_accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn shake(
    socket: TcpStream,
    peer: SocketAddr,
    served: &Served,
) -> Option<(TlsStream<TcpStream>, Arc<Client>)> {
    // Fails only when the other side is gone already.
    let _ = socket.set_nodelay(true);
    let acceptor = TlsAcceptor::from(served.config.clone());
    match acceptor.accept(socket).into_fallible().await {
        Ok(stream) => {
            let client = Client::of(&stream, served.clients.clone())?;
            Some((stream, Arc::new(client)))
        }
        Err((error, mut socket)) => {
            tracing::warn!(%error, %peer, "a client is not admitted");
            // Who closes on unread bytes resets the connection, and the client would not read why.
            let _ = socket.shutdown().await;
            let mut rest = [0; 1024];
            while socket.read(&mut rest).await.is_ok_and(|count| count > 0) {}
            None
        }
    }
}
