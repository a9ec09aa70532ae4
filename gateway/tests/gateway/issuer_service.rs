//! The HTTPS service of another issuer, as a script: what it answers, and how often it was asked.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::gateway_process::write_certificates;

/// What the next fetches get.
#[derive(Clone)]
pub(crate) enum Script {
    /// This JWK Set.
    Keys(String),
    /// These bytes, whatever they are.
    Bytes(Vec<u8>),
    /// Nothing, for ever.
    Silence,
}

impl Script {
    /// An answer of this status line and media type.
    pub(crate) fn answer(status: &str, fields: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{fields}\r\n\r\n");
        Self::Bytes([head.as_bytes(), body.as_bytes()].concat())
    }
}

/// The service; every clone is the same.
#[derive(Clone)]
pub(crate) struct IssuerService {
    script: Arc<Mutex<Script>>,
    fetches: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
    pub(crate) address: SocketAddr,
    /// The certificate of the CA that vouches for it.
    pub(crate) ca: String,
}

impl IssuerService {
    /// Listens with a certificate of a CA of its own, kept in this folder.
    pub(crate) async fn start(folder: &Path, script: Script) -> Self {
        service_runtime::crypto::install_provider();
        std::fs::create_dir_all(folder).unwrap();
        let ca = write_certificates(folder);
        let chain: Vec<_> = CertificateDer::pem_file_iter(folder.join("gateway.pem"))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.join("gateway.key")).unwrap();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = Self {
            script: Arc::new(Mutex::new(script)),
            fetches: Arc::default(),
            connections: Arc::default(),
            heads: Arc::default(),
            address: listener.local_addr().unwrap(),
            ca,
        };
        let serving = service.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serving.clone().serve(acceptor.clone(), socket));
            }
        });
        service
    }

    async fn serve(self, acceptor: TlsAcceptor, socket: TcpStream) {
        let Ok(mut stream) = acceptor.accept(socket).await else {
            return;
        };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        self.heads.lock().unwrap().push(String::from_utf8(head).unwrap());
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let script = self.script.lock().unwrap().clone();
        let answer = match script {
            Script::Keys(keys) => Script::answer("200 OK", "content-type: application/json", &keys),
            other => other,
        };
        if let Script::Bytes(bytes) = answer {
            // Whoever has read enough goes away.
            drop(stream.write_all(&bytes).await);
            drop(stream.shutdown().await);
        } else {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn answer(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }

    /// How often it was asked.
    pub(crate) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    /// How often somebody connected, whether anything was asked or not.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The head of the last request.
    pub(crate) fn last_head(&self) -> String {
        self.heads.lock().unwrap().last().unwrap().clone()
    }
}
