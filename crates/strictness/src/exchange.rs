//! Bytes to a server, and what comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A server under test, reached over TLS by the name `localhost`.
#[derive(Clone)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// What the client trusts, and the protocols that it offers.
    pub tls: Arc<ClientConfig>,
}

/// How long a client waits.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// It is satisfied with this many whole answers.
    pub answers: usize,
    /// After these, it listens this long whether the server closes.
    pub linger: Duration,
    /// It gives up after this time.
    pub deadline: Duration,
}

/// What came back on one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The statuses of the final answers.
    pub statuses: Vec<u16>,
    /// Whether the server closed.
    pub closed: bool,
}

impl Server {
    pub(crate) async fn connect(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let connector = TlsConnector::from(self.tls.clone());
        connector.connect(name, socket).await.context("TLS handshake")
    }

    /// Sends bytes on a connection of their own and reads what comes back. A server that closes while bytes are still
    /// being sent is no failure.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn send(&self, bytes: &[u8], patience: Patience) -> anyhow::Result<Answers> {
        Ok(exchange(&mut self.connect().await?, bytes, patience).await)
    }

    /// Sends requests one after the other, each behind the answer to the one before; on one connection, or on another once
    /// the server has closed that.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn ask_in_turn(&self, requests: &[&[u8]], patience: Patience) -> anyhow::Result<Vec<Answers>> {
        let mut stream = self.connect().await?;
        let mut all: Vec<Answers> = Vec::new();
        for request in requests {
            if all.last().is_some_and(|answers| answers.closed) {
                stream = self.connect().await?;
            }
            all.push(exchange(&mut stream, request, patience).await);
        }
        Ok(all)
    }
}

async fn exchange(stream: &mut TlsStream<TcpStream>, bytes: &[u8], patience: Patience) -> Answers {
    let mut answers = Answers {
        bytes: Vec::new(),
        statuses: Vec::new(),
        closed: false,
    };
    let _ = timeout(patience.deadline, async {
        let sent = stream.write_all(bytes).await;
        if sent.is_ok() {
            let _ = stream.flush().await;
        }
        loop {
            let enough = answers.statuses.len() >= patience.answers;
            let read = stream.read_buf(&mut answers.bytes);
            let read = if enough {
                match timeout(patience.linger, read).await {
                    Ok(read) => read,
                    Err(_) => return,
                }
            } else {
                read.await
            };
            // Without close_notify it is closed as well.
            if !matches!(read, Ok(count) if count > 0) {
                answers.closed = true;
                return;
            }
            answers.statuses = statuses(&answers.bytes, bytes.starts_with(b"HEAD "));
        }
    })
    .await;
    answers
}

/// The statuses of the answers that are whole, the informational ones left out.
fn statuses(mut bytes: &[u8], is_head: bool) -> Vec<u16> {
    let mut statuses = Vec::new();
    while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        let (head, rest) = bytes.split_at(end.saturating_add(4));
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        let status: Option<u16> = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let Some(status) = status else { break };
        if status < 200 {
            bytes = rest;
            continue;
        }
        let value = |name: &str| {
            let mut lines = head.lines();
            lines.find_map(|line| line.strip_prefix(name).map(str::trim).map(str::to_owned))
        };
        let length = value("content-length:").and_then(|length| length.parse().ok());
        let body = match (is_head || matches!(status, 204 | 304), length) {
            (true, _) => Some(0),
            (false, Some(length)) => Some(length),
            // The end of the last chunk; or of the connection, which is not looked for here.
            (false, None) => {
                let last = b"0\r\n\r\n";
                let at = rest.windows(last.len()).position(|window| window == last);
                at.map(|at| at.saturating_add(last.len()))
            }
        };
        let Some(rest) = body.and_then(|body| rest.get(body..)) else {
            break;
        };
        statuses.push(status);
        bytes = rest;
    }
    statuses
}
