//! One connection, from the accepted socket to its last request.
//!
//! The gateway owns everything before pingora's proxy: caps, the TLS handshake and its deadline, the strict reading of
//! HTTP/1 heads with a deadline for the whole head, and the answer to whatever fails there.

mod announced;
mod arrival;
pub(crate) mod caps;
mod chunks;
mod frames;
pub(crate) mod framing;
pub(crate) mod head;
mod http1;
mod http2;
mod places;
pub(crate) mod refusal;
mod stream;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use policy::{Scheme, TrustedProxies};
use prometheus::IntGauge;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use crate::fleet::Traffic;
use crate::metrics::METRICS;
use crate::personal_data::{Client as PersonalClient, Personal};
use crate::server::{Entrance, Worker};
use crate::tls::{Greeting, HTTP_2, Served, VerifiedClient, greet};
pub(crate) use arrival::Admitted;
use arrival::Client;
use caps::NamedPlace;
use framing::Refusal;
use places::Places;

tokio::task_local! {
    /// The connection that the request at hand came in on. Set around every call into pingora's proxy.
    pub(crate) static CONNECTION: Arc<Connection>;
}

/// What is known of a connection, and shared by its requests.
pub(crate) struct Connection {
    /// Where it came in.
    pub(crate) entrance: Arc<Entrance>,
    /// Whose it is: the peer of the socket (AD-1), or whom a trusted proxy has announced (AD-5); IPv4-mapped addresses as
    /// IPv4 (AD-4).
    pub(crate) client: IpAddr,
    /// The same, as a field value.
    pub(crate) client_field: HeaderValue,
    /// The trust in the peer, where its requests say which client they are of (AD-2).
    pub(crate) relays: Option<TrustedProxies>,
    /// What its requests hold.
    places: Arc<Places>,
    /// What its handshake came to; `None` in clear.
    pub(crate) tls: Option<Secured>,
    /// Whether the proxy has accepted the request at hand; until then, what pingora writes is an answer of its own.
    admitted: AtomicBool,
    intercepted: AtomicBool,
    /// Whether a body came that is not in chunks, or not in one way.
    broken_body: AtomicBool,
    last_request: AtomicBool,
    /// Whether it speaks another protocol now.
    upgraded: AtomicBool,
    /// Microseconds from the first byte of the last head to its last; `u64::MAX` when that is not known.
    head_us: AtomicU64,
}

/// What a handshake came to.
#[derive(Debug)]
pub(crate) struct Secured {
    served: Arc<Served>,
    /// The name that the client asked for, in lower case.
    name: Option<String>,
    /// The client's own certificate, when it has shown one.
    pub(crate) client: Option<VerifiedClient>,
}

impl Secured {
    /// Whether this connection may ask for `host`, a host of the policy (TLS-3).
    pub(crate) fn agrees(&self, host: &str) -> bool {
        self.served.agrees(self.name.as_deref(), host)
    }
}

impl Connection {
    fn new(entrance: Arc<Entrance>, client: Client, tls: Option<Secured>) -> Arc<Self> {
        let Client {
            address,
            permit,
            relays,
        } = client;
        Arc::new(Self {
            entrance,
            client: address,
            client_field: field_of(address),
            relays,
            places: Arc::new(Places::new(permit)),
            tls,
            admitted: AtomicBool::new(false),
            intercepted: AtomicBool::new(false),
            broken_body: AtomicBool::new(false),
            last_request: AtomicBool::new(false),
            upgraded: AtomicBool::new(false),
            head_us: AtomicU64::new(u64::MAX),
        })
    }

    /// Whose it is, for a log.
    pub(crate) fn personal_client(&self) -> Personal<PersonalClient<'_>> {
        Personal((self.client, &self.client_field))
    }

    /// The scheme requests of this connection have.
    pub(crate) fn scheme(&self) -> Scheme {
        self.entrance.scheme
    }

    /// A place for a request of a client that the proxy on this connection has named.
    ///
    /// # Errors
    /// When this client has as many under way as one may have.
    pub(crate) fn place_of(&self, client: IpAddr) -> Result<NamedPlace, Refusal> {
        self.places.of_named(client)
    }

    /// From here on, answers are ours.
    pub(crate) fn admit(&self) {
        self.admitted.store(true, Ordering::Relaxed);
    }

    /// Whether a body on it broke a rule of its framing (FR-10): nothing more is read from it.
    pub(crate) fn has_broken_body(&self) -> bool {
        self.broken_body.load(Ordering::Relaxed)
    }

    /// Whether the connection closes after the request at hand.
    pub(crate) fn is_last_request(&self) -> bool {
        self.last_request.load(Ordering::Relaxed)
    }

    /// How long the head of the request at hand took to come, where that is known.
    pub(crate) fn head_time(&self) -> Option<Duration> {
        let micros = self.head_us.load(Ordering::Relaxed);
        (micros != u64::MAX).then(|| Duration::from_micros(micros))
    }

    fn head_came(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.head_us.store(micros, Ordering::Relaxed);
    }

    /// From here on, bytes belong to no request.
    pub(crate) fn upgrade(&self) {
        self.upgraded.store(true, Ordering::Relaxed);
    }

    fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Relaxed)
    }

    fn expect_request(&self, is_last: bool) {
        self.admitted.store(false, Ordering::Relaxed);
        self.last_request.store(is_last, Ordering::Relaxed);
    }

    fn is_admitted(&self) -> bool {
        self.admitted.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.entrance.label)
    }
}

/// An address as a field value, which can hold each of its characters.
pub(crate) fn field_of(address: IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// Serves one accepted socket until it is closed.
pub(crate) async fn serve(
    worker: Arc<Worker>,
    entrance: Arc<Entrance>,
    mut socket: TcpStream,
    admitted: Admitted,
) {
    let open = OpenConnection::new(&entrance, &worker);
    let client = match admitted.client(&worker.shared, &entrance, &mut socket).await {
        Ok(known) => known,
        Err(refused) => return refused.count(),
    };
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    match &entrance.tls {
        None => {
            let connection = Connection::new(entrance.clone(), client, None);
            http1::serve(&worker, connection, Box::new(socket)).await;
        }
        Some(_) => serve_tls(&worker, entrance, socket, client).await,
    }
    drop(open);
}

/// Counts a connection for as long as it lives, also when serving it panics.
struct OpenConnection(IntGauge, Arc<Traffic>);

impl OpenConnection {
    fn new(entrance: &Entrance, worker: &Worker) -> Self {
        let gauge = METRICS.connections.with_label_values(&[entrance.label.as_str()]);
        gauge.inc();
        Self(gauge, worker.shared.traffic.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
        if std::thread::panicking() {
            self.1.panicked();
        }
    }
}

async fn serve_tls(worker: &Arc<Worker>, entrance: Arc<Entrance>, socket: TcpStream, client: Client) {
    let started = Instant::now();
    let limit = worker.shared.connections.handshake_timeout();
    let count = |outcome: &str| METRICS.handshakes.with_label_values(&[outcome]).inc();
    // Boxed, so that its buffers go when it ends: the task keeps its largest part for as long as the connection.
    let (stream, secured) = match Box::pin(timeout(limit, handshake(&entrance, socket))).await {
        Ok(Ok(done)) => done,
        Ok(Err(outcome)) => {
            count(outcome);
            return;
        }
        Err(_) => {
            count("timeout");
            return;
        }
    };
    METRICS.handshake_seconds.observe(started.elapsed().as_secs_f64());
    let session = stream.get_ref().1;
    let version = session.protocol_version();
    count(version.and_then(|version| version.as_str()).unwrap_or("unknown"));
    let connection = Connection::new(entrance, client, Some(secured));
    if session.alpn_protocol() == Some(HTTP_2) {
        Box::pin(http2::serve(worker, connection, stream)).await;
    } else {
        http1::serve(worker, connection, stream).await;
    }
}

/// The handshake, with the certificate that the client asks for.
///
/// # Errors
/// One word for the metric.
async fn handshake(
    entrance: &Entrance,
    socket: TcpStream,
) -> Result<(Box<TlsStream<TcpStream>>, Secured), &'static str> {
    let tls = entrance.tls.as_ref().ok_or("failed")?.current();
    let local = socket.local_addr().ok().map(|local| local.ip().to_canonical());
    let (start, served, name) = match greet(socket, &tls, local).await {
        Greeting::Served(start, served, name) => (start, served, name),
        Greeting::Unrecognized => return Err("unrecognized_name"),
        Greeting::Broken => return Err("failed"),
    };
    let accepted = start.into_stream(served.config()).await;
    let stream = accepted.map(Box::new).map_err(|error| {
        tracing::debug!(%error, "TLS handshake failed");
        "failed"
    })?;
    let chain = stream.get_ref().1.peer_certificates().map(|chain| {
        let owned = chain.iter().map(|certificate| certificate.clone().into_owned());
        owned.collect::<Vec<_>>()
    });
    let client = served
        .authority()
        .zip(chain)
        .and_then(|(authority, chain)| VerifiedClient::new(authority, chain));
    Ok((stream, Secured { served, name, client }))
}
