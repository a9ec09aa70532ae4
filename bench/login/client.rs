//! One kept connection over TLS, from an address of its own: each client is somebody else.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use trial::System;

/// An answer that takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the gateway is, and how it is known.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) config: Arc<ClientConfig>,
}

impl Door {
    /// The door of a running system.
    pub(crate) fn of(system: &System) -> anyhow::Result<Self> {
        let endpoints = system.endpoints();
        let address = endpoints
            .gateway_https
            .trim_start_matches("https://")
            .trim_end_matches('/');
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&endpoints.ca_cert)?)?;
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            address: address.replace("localhost", "127.0.0.1").parse()?,
            config: Arc::new(config),
        })
    }
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A client that opens its connection again when it is gone.
pub(crate) struct Client {
    door: Door,
    from: Ipv4Addr,
    open: Option<TlsStream<TcpStream>>,
}

impl Client {
    pub(crate) const fn new(door: Door, from: Ipv4Addr) -> Self {
        Self {
            door,
            from,
            open: None,
        }
    }

    /// A `POST` of JSON, or a `GET` without a body, with these further lines in its head.
    pub(crate) async fn ask(
        &mut self,
        path: &str,
        lines: &str,
        body: Option<&str>,
    ) -> anyhow::Result<Answer> {
        let host = format!("localhost:{}", self.door.address.port());
        let request = match body {
            None => format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n"),
            Some(body) => format!(
                "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{lines}\r\n{body}",
                body.len()
            ),
        };
        timeout(PATIENCE, self.exchange(&request))
            .await
            .context("no answer in time")?
    }

    async fn exchange(&mut self, request: &str) -> anyhow::Result<Answer> {
        let mut stream = match self.open.take() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        stream.write_all(request.as_bytes()).await?;
        let mut read = Vec::new();
        loop {
            ensure!(
                stream.read_buf(&mut read).await? > 0,
                "the connection ended before the answer was whole"
            );
            let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(read.get(..end).unwrap_or_default()).to_lowercase();
            let field = |name: &str| {
                let mut lines = head.lines().filter_map(|line| line.split_once(':'));
                lines.find(|line| line.0 == name).map(|line| line.1.trim())
            };
            let length: usize = field("content-length").unwrap_or("0").parse()?;
            let body = read.get(end + 4..).unwrap_or_default();
            if body.len() >= length {
                let status = head.split(' ').nth(1).unwrap_or_default().parse()?;
                let body = String::from_utf8_lossy(body).into_owned();
                if field("connection") != Some("close") {
                    self.open = Some(stream);
                }
                return Ok(Answer { status, head, body });
            }
        }
    }

    async fn connect(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((self.from, 0)))?;
        let stream = socket.connect(self.door.address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let connector = TlsConnector::from(self.door.config.clone());
        connector.connect(name, stream).await.context("TLS handshake")
    }
}
