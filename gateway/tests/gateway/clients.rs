//! Clients of a gateway under test, and what they check on every answer.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, ClientBuilder, Response};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::gateway_process::GatewayProcess;

impl GatewayProcess {
    pub(crate) fn client_builder(&self) -> ClientBuilder {
        let ca = reqwest::Certificate::from_pem(self.ca.as_bytes()).unwrap();
        Client::builder()
            .tls_certs_only([ca])
            .resolve("localhost", self.https)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(15))
    }

    /// A client that speaks HTTP/1.1.
    pub(crate) fn client(&self) -> Client {
        self.client_builder().http1_only().build().unwrap()
    }

    /// GET without credentials.
    pub(crate) async fn get(&self, target: &str) -> Response {
        self.client().get(self.url(target)).send().await.unwrap()
    }

    /// GET with a bearer token.
    pub(crate) async fn get_with(&self, target: &str, token: &str) -> Response {
        self.client()
            .get(self.url(target))
            .bearer_auth(token)
            .send()
            .await
            .unwrap()
    }

    pub(crate) fn tls_config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap())
            .unwrap();
        ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// A TLS connection on which a test may write any bytes.
    pub(crate) async fn raw_tls(&self) -> TlsStream<TcpStream> {
        let socket = TcpStream::connect(self.https).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(self.tls_config()))
            .connect(name, socket)
            .await
            .unwrap()
    }

    /// Sends raw bytes over TLS and reads until the gateway closes; a gateway that does not close within five seconds
    /// fails the test.
    pub(crate) async fn raw(&self, request: &[u8]) -> RawAnswer {
        let mut stream = self.raw_tls().await;
        stream.write_all(request).await.unwrap();
        stream.flush().await.unwrap();
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut bytes)).await;
        read.expect("the gateway closes the connection").ok();
        RawAnswer(String::from_utf8(bytes).unwrap())
    }
}

/// What came back on a raw connection.
#[derive(Debug)]
pub(crate) struct RawAnswer(pub(crate) String);

impl RawAnswer {
    pub(crate) fn status(&self) -> u16 {
        let line = self.0.lines().next().unwrap_or_default();
        line.split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("no answer: {self:?}"))
    }

    /// How many answers came on the connection.
    pub(crate) fn count(&self) -> usize {
        // A body may speak of HTTP/1.1 too.
        self.0
            .split("HTTP/1.1 ")
            .skip(1)
            .filter(|rest| rest.starts_with(|next: char| next.is_ascii_digit()))
            .count()
    }

    /// Refused with this status, by a page that is complete: our headers, a problem document, and nothing after it.
    pub(crate) fn assert_refused(&self, status: u16, of: &str) {
        assert_eq!(self.status(), status, "{of}: {}", self.0);
        assert_eq!(self.count(), 1, "{of}: {}", self.0);
        let (head, body) = self.0.split_once("\r\n\r\n").unwrap();
        let head = head.to_ascii_lowercase();
        assert!(!head.contains("server:"), "{of}: {head}");
        assert!(!head.contains("pingora"), "{of}: {head}");
        for header in [
            "strict-transport-security: max-age=63072000; includesubdomains",
            "x-content-type-options: nosniff",
            "x-request-id: ",
            "traceresponse: 00-",
            "content-type: application/problem+json",
            "connection: close",
        ] {
            assert!(head.contains(header), "{of}: {header} is missing in\n{head}");
        }
        let problem: Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], status, "{of}");
    }
}

/// The headers that every answer over HTTPS has, whoever made it.
pub(crate) fn assert_dressed(answer: &Response) {
    let value = |name: &str| {
        let mut values = answer.headers().get_all(name).iter();
        let value = values.next().map(|value| value.to_str().unwrap().to_owned());
        assert!(
            values.next().is_none(),
            "{name} came twice on {}",
            answer.status()
        );
        value
    };
    let of = answer.status();
    assert_eq!(
        value("strict-transport-security").as_deref(),
        Some("max-age=63072000; includeSubDomains"),
        "{of}"
    );
    assert_eq!(
        value("x-content-type-options").as_deref(),
        Some("nosniff"),
        "{of}"
    );
    assert_eq!(value("referrer-policy").as_deref(), Some("no-referrer"), "{of}");
    let csp = value("content-security-policy");
    assert_eq!(
        csp.as_deref(),
        Some("default-src 'none'; frame-ancestors 'none'"),
        "{of}"
    );
    assert_eq!(value("server"), None, "{of}");
    assert_eq!(value("x-powered-by"), None, "{of}");
    assert!(value("x-request-id").is_some_and(|id| id.len() >= 8), "{of}");
    assert!(
        value("traceresponse").is_some_and(|call| call.len() == 55),
        "{of}"
    );
}

/// An answer as a problem document, after checking that it is one (RFC 9457) and dressed.
pub(crate) async fn problem(answer: Response, status: u16, slug: &str) -> Value {
    assert_eq!(answer.status().as_u16(), status, "{answer:?}");
    assert_dressed(&answer);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let problem: Value = answer.json().await.unwrap();
    assert!(problem["type"].as_str().unwrap().ends_with(slug), "{problem}");
    assert_eq!(problem["status"], status);
    assert_eq!(problem["instance"], format!("urn:request:{id}"));
    problem
}

/// Sends one request and reads what comes of it in one piece.
pub(crate) async fn exchange(stream: &mut TlsStream<TcpStream>, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut bytes = [0; 8192];
    let length = stream.read(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}
