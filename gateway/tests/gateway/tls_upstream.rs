//! A service behind the gateway that is reached over TLS, asks for a certificate, and changes its own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::authority::{Authority, Issued};
use crate::raw_upstream::read_message;
use crate::websocket::{AGREED, frame};

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// Method and path.
    pub(crate) request: String,
    /// Which connection it came over.
    pub(crate) connection: usize,
    /// The URI in the certificate that was shown.
    pub(crate) client: Option<String>,
}

struct Script {
    config: Mutex<Arc<ServerConfig>>,
    arrived: Mutex<Vec<Arrived>>,
    keeps_connections: bool,
}

/// One address of the service.
pub(crate) struct TlsUpstream {
    pub(crate) address: SocketAddr,
    script: Arc<Script>,
}

impl TlsUpstream {
    /// Closes each connection behind its answer, so that every request makes a new one.
    pub(crate) async fn start(config: ServerConfig) -> Self {
        Self::listen(config, false).await
    }

    pub(crate) async fn keeping_connections(config: ServerConfig) -> Self {
        Self::listen(config, true).await
    }

    async fn listen(config: ServerConfig, keeps_connections: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let script = Arc::new(Script {
            config: Mutex::new(Arc::new(config)),
            arrived: Mutex::default(),
            keeps_connections,
        });
        let address = listener.local_addr().unwrap();
        tokio::spawn(accept(listener, script.clone()));
        Self { address, script }
    }

    /// What new connections meet from now on.
    pub(crate) fn become_another(&self, config: ServerConfig) {
        *self.script.config.lock().unwrap() = Arc::new(config);
    }

    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.script.arrived.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Arrived {
        self.arrived().pop().expect("a request has arrived")
    }
}

/// Accepts whoever trusts this authority and asks for the core.
pub(crate) fn acceptor(authority: &Authority) -> TlsAcceptor {
    TlsAcceptor::from(Arc::new(met_with(
        &authority.issue(&["core.bank.internal"]),
        None,
    )))
}

/// How the service is met: with this pair, and, when an authority is given, by its clients only.
pub(crate) fn met_with(issued: &Issued, clients: Option<&Authority>) -> ServerConfig {
    met_over(&[&version::TLS13, &version::TLS12], issued, clients)
}

/// The same over these versions only.
pub(crate) fn met_over(
    versions: &[&'static SupportedProtocolVersion],
    issued: &Issued,
    clients: Option<&Authority>,
) -> ServerConfig {
    let (chain, key) = issued.der();
    let builder = ServerConfig::builder_with_protocol_versions(versions);
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            let authority = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
            roots.add(authority).unwrap();
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
        }
    };
    builder.with_single_cert(chain, key).unwrap()
}

async fn accept(listener: TcpListener, script: Arc<Script>) {
    let mut connections = tokio::task::JoinSet::new();
    for connection in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(serve(stream, connection, script.clone()));
    }
}

async fn serve(stream: TcpStream, connection: usize, script: Arc<Script>) {
    let acceptor = TlsAcceptor::from(script.config.lock().unwrap().clone());
    let mut stream = match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => stream,
        Err((_, mut stream)) => {
            // Who closes on unread bytes resets the connection, and the other side would not read why.
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
            return;
        }
    };
    let shown = stream.get_ref().1.peer_certificates();
    let client = shown.and_then(|chain| uri(&chain[0]));
    let mut buffer = Vec::new();
    while let Some((head, _)) = read_message(&mut stream, &mut buffer).await {
        let words: Vec<&str> = head.split(' ').take(2).collect();
        let request = words.join(" ");
        let is_upgrade = head.to_ascii_lowercase().contains("upgrade: websocket");
        script.arrived.lock().unwrap().push(Arrived {
            request,
            connection,
            client: client.clone(),
        });
        if is_upgrade {
            let _ = stream.write_all(AGREED.as_bytes()).await;
            let _ = stream.write_all(&frame(0x81, b"over TLS", None)).await;
            let _ = stream.read_to_end(&mut buffer).await;
            return;
        }
        let close = match script.keeps_connections {
            true => "",
            false => "Connection: close\r\n",
        };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n{close}\r\ngood");
        if stream.write_all(answer.as_bytes()).await.is_err() || !close.is_empty() {
            let _ = stream.shutdown().await;
            return;
        }
    }
}

fn uri(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
    let names = certificate.subject_alternative_name().unwrap()?;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    })
}
