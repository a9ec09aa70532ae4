//! Connections that a gateway opens: to the control plane, over mutual TLS or its socket, and to mirrors.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use service_runtime::clock::Clock;
use service_runtime::shutdown::Shutdown;
use service_runtime::tls::{ClockTime, Pair, check_pair, is_for_clients, parse, uri_and_dns_names};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::Address;
use super::settings::FleetSettings;
use crate::durable_file::read_bounded;

/// From the look-up of the name to the end of the handshake.
const DIAL: Duration = Duration::from_secs(5);
/// From the request to the head of its answer, and again to the end of a short one.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer head.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Largest file of certificates or keys.
const MAX_PEM_BYTES: u64 = 256 * 1024;
/// The name of a gateway on the socket, where no certificate tells it.
const NODE: &str = "x-node";
/// The process that speaks, as its heartbeats name it: an acknowledgement is true of it alone.
const BOOT: &str = "x-boot";
/// The time of the database, in the answer to a heartbeat.
const TIME: &str = "x-time";

trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Opens connections.
pub(super) struct Dialler {
    settings: FleetSettings,
    clock: Clock,
    shutdown: Shutdown,
    boot_id: String,
}

/// One connection; requests go one after the other.
pub(super) struct Link {
    sender: SendRequest<Full<Bytes>>,
    authority: HeaderValue,
    node: Option<HeaderValue>,
    boot_id: HeaderValue,
}

impl Dialler {
    pub(super) const fn new(
        settings: FleetSettings,
        clock: Clock,
        shutdown: Shutdown,
        boot_id: String,
    ) -> Self {
        Self {
            settings,
            clock,
            shutdown,
            boot_id,
        }
    }

    /// Connects to the control plane.
    ///
    /// # Errors
    /// What failed, for the log.
    pub(super) async fn control_plane(&self) -> anyhow::Result<Link> {
        self.dial(&self.control_plane_address()?).await
    }

    /// Where the control plane listens.
    ///
    /// # Errors
    /// When the settings do not say it.
    pub(super) fn control_plane_address(&self) -> anyhow::Result<Address> {
        Address::parse(&self.settings.control_plane).map_err(anyhow::Error::msg)
    }

    /// Connects. The files of the certificate are read anew, so a renewed one counts from the next connection on.
    ///
    /// # Errors
    /// What failed, for the log.
    pub(super) async fn dial(&self, address: &Address) -> anyhow::Result<Link> {
        let dialled = timeout(DIAL, async {
            let transport: Box<dyn Transport> = match address {
                Address::Tls { host, port } => Box::new(self.encrypted(host, *port).await?),
                Address::Unix(path) => {
                    let connecting = || format!("connecting to {}", path.display());
                    Box::new(UnixStream::connect(path).await.with_context(connecting)?)
                }
            };
            let handshake = Builder::new()
                .max_buf_size(MAX_HEAD_BYTES)
                .handshake(TokioIo::new(transport));
            anyhow::Ok(handshake.await?)
        });
        let (sender, connection) = dialled.await.context("no connection in time")??;
        let stop = self.shutdown.child();
        // Ends with its sender, too.
        self.shutdown.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                ended = connection => drop(ended),
            }
        });
        let node = match address {
            Address::Unix(_) => Some(HeaderValue::from_str(&self.settings.node)?),
            Address::Tls { .. } => None,
        };
        Ok(Link {
            sender,
            authority: HeaderValue::from_str(&address.authority())?,
            node,
            boot_id: HeaderValue::from_str(&self.boot_id)?,
        })
    }

    async fn encrypted(
        &self,
        host: &str,
        port: u16,
    ) -> anyhow::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let config = self.client_config()?;
        let stream = TcpStream::connect((host, port))
            .await
            .with_context(|| format!("connecting to {host}:{port}"))?;
        let name = ServerName::try_from(host.to_owned()).context("not a name for TLS")?;
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, stream).await.context("TLS")
    }

    /// TLS 1.3 with both sides known.
    fn client_config(&self) -> anyhow::Result<ClientConfig> {
        let settings = &self.settings;
        let pair = Pair {
            chain: read_bounded(&settings.certificate, MAX_PEM_BYTES)?,
            key: read_bounded(&settings.key, MAX_PEM_BYTES)?,
        };
        let of_pair = || format!("certificate {}", settings.certificate.display());
        let checked = check_pair(&pair, self.clock.now()).with_context(of_pair)?;
        let leaf = parse(checked.chain.first().context("no certificate")?)?;
        if !is_for_clients(&leaf)? {
            bail!("{}: it is not for clients", of_pair());
        }
        let names = uri_and_dns_names(&leaf).unwrap_or_default();
        if !names.contains(&settings.node) {
            bail!("{}: it does not name {}", of_pair(), settings.node);
        }
        let key = PrivateKeyDer::from_pem_slice(&pair.key).context("the key is not PEM")?;
        let provider = service_runtime::crypto::shared_provider();
        let time = Arc::new(ClockTime(self.clock.clone()));
        let mut config = ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(authorities(&settings.ca)?)
            .with_client_auth_cert(checked.chain.clone(), key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

fn authorities(file: &Path) -> anyhow::Result<RootCertStore> {
    let of_file = || format!("ca {}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&read_bounded(file, MAX_PEM_BYTES)?) {
        roots
            .add(certificate.with_context(of_file)?)
            .with_context(of_file)?;
    }
    if roots.is_empty() {
        bail!("{}: it holds no certificate", of_file());
    }
    Ok(roots)
}

impl Link {
    /// Whether the other side has closed it.
    pub(super) fn has_ended(&self) -> bool {
        self.sender.is_closed()
    }

    /// Asks, and hands back the answer as soon as its head is there.
    ///
    /// # Errors
    /// When the connection breaks, or nothing is answered in time.
    pub(super) async fn open(&mut self, target: &str) -> anyhow::Result<Response<Incoming>> {
        let request = self.request(Request::get(target), Bytes::new())?;
        self.send(request).await
    }

    /// Asks for something whole of at most `max` bytes; `None` when there is none.
    ///
    /// # Errors
    /// As [`Link::open`]; and when the answer is longer, cut off, or no success.
    pub(super) async fn get(&mut self, target: &str, max: usize) -> anyhow::Result<Option<Bytes>> {
        let answer = self.open(target).await?;
        match answer.status() {
            StatusCode::OK => body(answer, max).await.map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            status => bail!("the answer is {status}"),
        }
    }

    /// Hands something over; the status of the answer, and what time it says that it is, Unix milliseconds.
    ///
    /// # Errors
    /// As [`Link::open`].
    pub(super) async fn post(
        &mut self,
        target: &str,
        json: Vec<u8>,
    ) -> anyhow::Result<(StatusCode, Option<i64>)> {
        let request = Request::post(target).header(header::CONTENT_TYPE, "application/json");
        let request = self.request(request, Bytes::from(json))?;
        let answer = self.send(request).await?;
        let status = answer.status();
        let time = answer.headers().get(TIME).and_then(|time| time.to_str().ok());
        let time = time.and_then(|time| time.parse().ok());
        // Read to its end, so that the connection can be used again.
        body(answer, MAX_HEAD_BYTES).await?;
        Ok((status, time))
    }

    fn request(
        &self,
        mut request: http::request::Builder,
        body: Bytes,
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        request = request
            .header(header::HOST, self.authority.clone())
            .header(header::USER_AGENT, "portico")
            .header(BOOT, self.boot_id.clone());
        if let Some(node) = &self.node {
            request = request.header(NODE, node.clone());
        }
        Ok(request.body(Full::new(body))?)
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        let sent = timeout(PATIENCE, async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        });
        sent.await.context("no answer in time")?.context("asking")
    }
}

async fn body(answer: Response<Incoming>, max: usize) -> anyhow::Result<Bytes> {
    let read = timeout(PATIENCE, Limited::new(answer.into_body(), max).collect());
    let read = read.await.context("the answer does not end in time")?;
    let read = read.map_err(|error| anyhow::anyhow!("reading at most {max} bytes: {error}"))?;
    Ok(read.to_bytes())
}
