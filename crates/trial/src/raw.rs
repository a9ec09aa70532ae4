//! Bytes as an attacker sends them: a TLS connection to the front door, and no HTTP client that would mend anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long an answer and the end of its connection are waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// The front door for bytes.
#[derive(Clone)]
pub(crate) struct RawDoor {
    config: Arc<ClientConfig>,
    /// Host and port, as a request names them.
    authority: String,
    /// Where to connect.
    address: String,
}

impl std::fmt::Debug for RawDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RawDoor({})", self.authority)
    }
}

impl RawDoor {
    pub(crate) fn new(authority: &[u8], https: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority)?)?;
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let address = https.strip_prefix("https://").context("an https address")?;
        Ok(Self {
            config: Arc::new(config),
            authority: address.to_owned(),
            address: address.to_owned(),
        })
    }

    /// The same, where the name leads to this address.
    pub(crate) fn at(mut self, address: SocketAddr) -> Self {
        self.address = address.to_string();
        self
    }

    /// Host and port, as a request names them.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) async fn handshake(&self, name: &str) -> anyhow::Result<Result<(), String>> {
        let name = ServerName::try_from(name.to_owned())?;
        let stream = TcpStream::connect(&self.address).await?;
        let connecting = TlsConnector::from(self.config.clone()).connect(name, stream);
        let shaken = timeout(PATIENCE, connecting)
            .await
            .context("no end of the handshake")?;
        Ok(shaken.map(drop).map_err(|error| error.to_string()))
    }

    pub(crate) async fn send(&self, bytes: &[u8]) -> anyhow::Result<String> {
        let host = self.authority.rsplit_once(':').map_or("", |(host, _)| host);
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
        let stream = TcpStream::connect(&self.address).await?;
        let mut stream = TlsConnector::from(self.config.clone())
            .connect(name, stream)
            .await?;
        // A gateway may close before it has read everything: what it answered counts.
        let sent = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        match (read, sent) {
            (Err(_), _) => anyhow::bail!(
                "the connection was not closed: {}",
                String::from_utf8_lossy(&answer)
            ),
            (Ok(Err(error)), _) | (Ok(Ok(_)), Err(error)) if answer.is_empty() => Err(error.into()),
            _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
        }
    }
}
