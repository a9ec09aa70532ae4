//! Clients of the bench's own, for what wrk and h2load cannot do: to show a certificate, and to connect for each request.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::site::Site;

const PATIENCE: Duration = Duration::from_secs(10);

/// How a client speaks TLS. Each of its handshakes is a whole one.
pub(crate) fn tls(site: &Site, has_certificate: bool) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(site.path("tls/gateway.pem"))?)?;
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut tls = if has_certificate {
        let chain = vec![CertificateDer::from_pem_file(site.path("client.pem"))?];
        let key = PrivateKeyDer::from_pem_file(site.path("client.key"))?;
        builder.with_client_auth_cert(chain, key)?
    } else {
        builder.with_no_client_auth()
    };
    tls.resumption = Resumption::disabled();
    Ok(Arc::new(tls))
}

/// Clients that each have one request under way, over HTTP/1.1.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    pub(crate) tls: Arc<ClientConfig>,
    /// Whether each request has a connection of its own.
    pub(crate) reconnects: bool,
}

impl Clients {
    /// What each request took, in microseconds, with the handshake where it has one.
    pub(crate) fn run(&self, count: u32, time: Duration, port: u16, path: &str) -> anyhow::Result<Vec<u64>> {
        let until = Instant::now() + time;
        thread::scope(|scope| {
            let clients: Vec<_> = (0..count)
                .map(|_| scope.spawn(|| self.ask(until, port, path)))
                .collect();
            let mut latencies = Vec::new();
            for client in clients {
                latencies.extend(client.join().map_err(|_| anyhow!("a client panicked"))??);
            }
            Ok(latencies)
        })
    }

    fn ask(&self, until: Instant, port: u16, path: &str) -> anyhow::Result<Vec<u64>> {
        let mut latencies = Vec::new();
        let mut kept: Option<Connection> = None;
        while Instant::now() < until {
            let since = Instant::now();
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => Connection::open(&self.tls, port)?,
            };
            connection.get(path, self.reconnects)?;
            latencies.push(u64::try_from(since.elapsed().as_micros())?);
            if self.reconnects {
                connection.await_end();
            } else {
                kept = Some(connection);
            }
        }
        Ok(latencies)
    }
}

/// One connection over TLS.
pub(crate) struct Connection(StreamOwned<ClientConnection, TcpStream>);

impl Connection {
    pub(crate) fn open(tls: &Arc<ClientConfig>, port: u16) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost")?;
        Ok(Self(StreamOwned::new(
            ClientConnection::new(tls.clone(), name)?,
            socket,
        )))
    }

    /// Asks for this, perhaps as the last request of the connection, and reads the answer.
    ///
    /// # Errors
    /// When it is not 200.
    pub(crate) fn get(&mut self, path: &str, is_last: bool) -> anyhow::Result<()> {
        let close = if is_last { "Connection: close\r\n" } else { "" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{close}\r\n");
        self.0.write_all(request.as_bytes())?;
        let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
        while !is_whole(&answer)? {
            let count = self.0.read(&mut buffer)?;
            ensure!(count > 0, "closed: {}", String::from_utf8_lossy(&answer));
            answer.extend(buffer.iter().take(count));
        }
        Ok(())
    }

    /// The server closes, with an alert or without.
    fn await_end(mut self) {
        let mut buffer = [0; 4096];
        while matches!(self.0.read(&mut buffer), Ok(count) if count > 0) {}
    }
}

/// Whether all of an answer is there.
fn is_whole(answer: &[u8]) -> anyhow::Result<bool> {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(false);
    };
    ensure!(head.starts_with("HTTP/1.1 200"), "{text}");
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = length.with_context(|| format!("an answer without a length: {head}"))?;
    Ok(body.len() >= length.trim().parse()?)
}
