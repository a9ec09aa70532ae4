//! Another issuer, which publishes its keys at a URL and counts who asks for them.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use keyring::{Algorithm, Claims, KeySet, KeyState, SigningKey};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Who it says it is.
pub(super) const ISSUER: &str = "https://partner.example";

/// The issuer; it ends when dropped.
pub(super) struct Foreign {
    key: SigningKey,
    asked: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Foreign {
    /// Takes a place on loopback, for a URL that gateways are told before anybody answers there.
    pub(super) async fn place() -> anyhow::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    }

    /// Answers there, with the certificate of `folder`.
    pub(super) fn start(listener: TcpListener, folder: &Path) -> anyhow::Result<Self> {
        let read = |name: &str| fs::read(folder.join(name)).with_context(|| name.to_owned());
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(
            vec![CertificateDer::from_pem_slice(&read("issuer.pem")?)?],
            PrivateKeyDer::from_pem_slice(&read("issuer.key")?)?,
        )?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let key = SigningKey::generate(Algorithm::EdDSA)?;
        let set = KeySet {
            seq: 1,
            keys: vec![key.public_key(KeyState::Active)],
            revoked_kids: Vec::new(),
        };
        let (document, asked) = (set.to_jwks().to_string(), Arc::new(AtomicUsize::new(0)));
        let (count, mut serving) = (asked.clone(), JoinSet::new());
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // A connection that breaks off is the gateway's to make again.
                connections.spawn(answer(acceptor.clone(), stream, document.clone(), count.clone()));
            }
        });
        Ok(Self {
            key,
            asked,
            _serving: serving,
        })
    }

    /// How often it was asked for its keys.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// A token of its own.
    pub(super) fn token(&self, claims: &Claims) -> anyhow::Result<String> {
        Ok(self.key.sign(claims)?)
    }
}

async fn answer(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    document: String,
    asked: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    asked.fetch_add(1, Ordering::Relaxed);
    let length = document.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{document}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
