//! An https server of the test: it records every request as it came, and answers or fails as it is told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body, whole.
    pub body: Vec<u8>,
}

impl Seen {
    /// The first field of this name, which is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    /// This status and nothing else.
    Status(u16),
    /// The connection ends before an answer.
    CutOff,
    /// The connection ends in the middle of an answer.
    CutShort,
    /// No answer ever.
    Silence,
}

type Answers = dyn Fn(&Seen) -> (u16, String) + Send + Sync;

struct Shared {
    seen: Mutex<Vec<Seen>>,
    troubles: Mutex<VecDeque<Trouble>>,
    is_down: AtomicBool,
    answers: Box<Answers>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Fake {
    /// Where it listens.
    pub address: SocketAddr,
    /// The certificate of its authority, PEM.
    pub ca: NamedTempFile,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    is_tls: bool,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    /// Over TLS, as Vault and AWS are.
    pub async fn https(answers: impl Fn(&Seen) -> (u16, String) + Send + Sync + 'static) -> Self {
        Self::start(true, Box::new(answers)).await
    }

    /// In clear, as metadata is.
    pub async fn http(answers: impl Fn(&Seen) -> (u16, String) + Send + Sync + 'static) -> Self {
        Self::start(false, Box::new(answers)).await
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the server is aborted when it is dropped"
    )]
    async fn start(is_tls: bool, answers: Box<Answers>) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let (ca, acceptor) = identity();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            troubles: Mutex::default(),
            is_down: AtomicBool::new(false),
            answers,
        });
        let state = shared.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (state, acceptor) = (state.clone(), acceptor.clone());
                tokio::spawn(async move {
                    if !is_tls {
                        serve(stream, state).await;
                    } else if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, state).await;
                    }
                });
            }
        });
        Self {
            address,
            ca,
            shared,
            task,
            is_tls,
        }
    }

    /// Its address for a client.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.address.port())
    }

    /// What goes wrong with the next requests, one each.
    pub fn trouble<const N: usize>(&self, troubles: [Trouble; N]) {
        self.shared.troubles.lock().unwrap().extend(troubles);
    }

    /// From now on, whether nobody is answered.
    pub fn set_down(&self, is_down: bool) {
        self.shared.is_down.store(is_down, Ordering::Relaxed);
    }

    /// Everything that was asked since the last call.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.shared.seen.lock().unwrap())
    }
}

fn identity() -> (NamedTempFile, TlsAcceptor) {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let ca = NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), authority.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (ca, TlsAcceptor::from(Arc::new(config)))
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let shared = shared.clone();
        async move { answer(request, &shared).await }
    });
    // A client that goes away, and an answer that is cut off, end as errors here.
    drop(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

#[derive(Debug, thiserror::Error)]
#[error("cut off")]
struct CutOff;

async fn answer(
    request: hyper::Request<Incoming>,
    shared: &Shared,
) -> Result<hyper::Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>, CutOff> {
    let (parts, body) = request.into_parts();
    let seen = Seen {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect(),
        body: body.collect().await.map_err(|_| CutOff)?.to_bytes().to_vec(),
    };
    shared.seen.lock().unwrap().push(seen.clone());
    let trouble = if shared.is_down.load(Ordering::Relaxed) {
        Some(Trouble::CutOff)
    } else {
        shared.troubles.lock().unwrap().pop_front()
    };
    let mut response = hyper::Response::builder();
    let (status, text) = match trouble {
        None => (shared.answers)(&seen),
        Some(Trouble::Status(status)) => (status, String::new()),
        Some(Trouble::CutOff) => return Err(CutOff),
        Some(Trouble::CutShort) => {
            // It promises more than comes, so that the server itself breaks off.
            response = response.header("content-length", "1000");
            (200, "{\"data\":".to_owned())
        }
        Some(Trouble::Silence) => std::future::pending().await,
    };
    Ok(response
        .status(status)
        .body(Full::new(Bytes::from(text)).boxed())
        .unwrap())
}
