//! A client that knows what it was promised: one HTTP/1.1 connection over TLS, or one WebSocket.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::HOST;

/// An answer that takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The ways into a site, one for each gateway. Where nobody listens, the next one is taken, as a load balancer does.
#[derive(Clone)]
pub struct Door {
    addresses: Vec<SocketAddr>,
    config: Arc<ClientConfig>,
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
    /// How many gateways refused it before one took it.
    pub refused: usize,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Whether the gateway ends the connection behind it.
    pub closes: bool,
    /// Head and body.
    pub text: String,
}

impl Door {
    /// Through any of these gateways.
    #[must_use]
    pub const fn new(addresses: Vec<SocketAddr>, config: Arc<ClientConfig>) -> Self {
        Self { addresses, config }
    }

    /// Connects, to another gateway for each `turn`.
    ///
    /// # Errors
    /// When nobody listens, or the handshake fails.
    pub async fn connect(&self, turn: usize) -> anyhow::Result<Connection> {
        let mut refused = 0;
        let around = self
            .addresses
            .iter()
            .cycle()
            .skip(turn % self.addresses.len().max(1));
        for address in around.take(self.addresses.len()) {
            match timeout(PATIENCE, TcpStream::connect(address)).await? {
                Ok(stream) => {
                    return Ok(Connection {
                        stream: self.handshake(stream).await.context("TLS handshake")?,
                        buffer: Vec::new(),
                        refused,
                    });
                }
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => refused += 1,
                Err(error) => return Err(error).context("connecting"),
            }
        }
        bail!("connecting: refused by every gateway")
    }

    async fn handshake(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(self.config.clone());
        let name = ServerName::try_from(HOST).map_err(std::io::Error::other)?;
        timeout(PATIENCE, connector.connect(name, stream)).await?
    }
}

impl Connection {
    /// The certificate that the gateway has shown, as DER.
    #[must_use]
    pub fn certificate(&self) -> Option<Vec<u8>> {
        let (_, tls) = self.stream.get_ref();
        Some(tls.peer_certificates()?.first()?.to_vec())
    }

    /// Asks for a path and reads the whole answer.
    ///
    /// # Errors
    /// When the connection breaks off before it is whole.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
            .await
    }

    /// Sends a request as it is written here, and reads the whole answer.
    ///
    /// # Errors
    /// When the connection breaks off before it is whole.
    pub async fn send(&mut self, request: &str) -> anyhow::Result<Answer> {
        timeout(PATIENCE, self.exchange(request))
            .await
            .context("no answer in time")?
    }

    /// Asks for a path, and does not wait for the answer.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn ask(&mut self, path: &str) -> anyhow::Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        Ok(self.stream.flush().await?)
    }

    /// Reads the answer to [`Connection::ask`].
    ///
    /// # Errors
    /// When the connection breaks off before it is whole.
    pub async fn answered(&mut self) -> anyhow::Result<Answer> {
        timeout(PATIENCE, self.read_answer())
            .await
            .context("no answer in time")?
    }

    async fn exchange(&mut self, request: &str) -> anyhow::Result<Answer> {
        self.stream.write_all(request.as_bytes()).await?;
        self.read_answer().await
    }

    async fn read_answer(&mut self) -> anyhow::Result<Answer> {
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await?;
            ensure!(read > 0, "the connection ended before the answer was whole");
            let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(self.buffer.get(..end).unwrap_or_default()).to_lowercase();
            let field = |name: &str| {
                let lines = head.lines().filter_map(|line| line.split_once(':'));
                lines
                    .filter(|line| line.0 == name)
                    .map(|line| line.1.trim())
                    .next()
            };
            let length: usize = field("content-length").unwrap_or("0").parse()?;
            if self.buffer.len() >= end + 4 + length {
                let status = head.split(' ').nth(1).unwrap_or_default().parse()?;
                return Ok(Answer {
                    status,
                    closes: field("connection") == Some("close"),
                    text: String::from_utf8_lossy(&self.buffer).into_owned(),
                });
            }
        }
    }

    /// Makes a WebSocket of it.
    ///
    /// # Errors
    /// When the gateway does not agree.
    pub async fn upgrade(mut self, path: &str) -> anyhow::Result<WebSocket> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let answer = timeout(PATIENCE, self.exchange(&request)).await??;
        ensure!(answer.status == 101, "no WebSocket: {}", answer.text);
        let head = self.buffer.windows(4).position(|four| four == b"\r\n\r\n");
        let received = self.buffer.split_off(head.map_or(0, |head| head + 4));
        Ok(WebSocket {
            stream: self.stream,
            received,
        })
    }
}

/// An open WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    stream: TlsStream<TcpStream>,
    /// Read, and not yet a whole frame; the first may come with the answer to the handshake.
    received: Vec<u8>,
}

impl WebSocket {
    /// Sends a short text.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, text: &str) -> anyhow::Result<()> {
        let length = u8::try_from(text.len())?;
        ensure!(length < 126, "too long for a drill");
        // A mask of zeros is one.
        let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0][..], text.as_bytes()].concat();
        Ok(self.stream.write_all(&frame).await?)
    }

    /// The next frame: its opcode and payload. May be dropped and called again.
    ///
    /// # Errors
    /// When the connection ends without one.
    pub async fn receive(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        loop {
            if let [opcode, length, rest @ ..] = self.received.as_slice()
                && let Some(payload) = rest.get(..usize::from(length & 0x7f))
            {
                let frame = (opcode & 0x0f, payload.to_vec());
                self.received.drain(..payload.len() + 2);
                return Ok(frame);
            }
            let read = self.stream.read_buf(&mut self.received).await;
            ensure!(read.context("the socket was cut")? > 0, "the socket was cut");
        }
    }
}
