//! TLS of a service: who is let in, and what happens when files change.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{TlsService, TlsSettings, serve_tls};
use crate::clock::Clock;
use crate::shutdown::Shutdown;

const NAME: &str = "core.bank.internal";
const GATEWAY: &str = "spiffe://bank.example/gateway";

struct Authority(CertifiedIssuer<'static, KeyPair>);

/// Chain and key, PEM.
type Issued = (String, String);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (
            params.signed_by(&key, &self.0).unwrap().pem(),
            key.serialize_pem(),
        )
    }

    fn server(&self) -> Issued {
        self.issue(|params| params.subject_alt_names = vec![SanType::DnsName(NAME.try_into().unwrap())])
    }

    fn client(&self, name: &str) -> Issued {
        self.client_with(name, |_| ())
    }

    fn client_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        self.issue(|params| {
            params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            change(params);
        })
    }
}

/// A service over TLS, and whom it trusts.
struct Service {
    address: SocketAddr,
    servers: Authority,
    clients: Authority,
    directory: TempDir,
    clock: Clock,
    shutdown: Shutdown,
}

impl Service {
    async fn start() -> Self {
        crate::crypto::install_provider();
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let directory = tempfile::tempdir().unwrap();
        write_pair(directory.path(), &servers.server());
        std::fs::write(directory.path().join("clients.pem"), clients.0.pem()).unwrap();
        let clock = Clock::manual(DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        let settings = settings(directory.path());
        assert_eq!(settings.faults(), Vec::<String>::new());
        let service = TlsService::bind(&settings, clock.clone()).await.unwrap();
        let shutdown = Shutdown::new();
        let address = service.address();
        let router = Router::new().route("/", get(|| async { "served" }));
        shutdown.spawn(serve(service, router, shutdown.clone()));
        Self {
            address,
            servers,
            clients,
            directory,
            clock,
            shutdown,
        }
    }

    async fn connect(&self, client: Option<&Issued>) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(self.servers.0.pem().as_bytes()).unwrap();
        roots.add(authority).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap);
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain.collect(), key).unwrap()
            }
        };
        let socket = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(NAME).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, socket).await
    }

    /// What a client with this certificate is answered, or told.
    async fn ask(&self, client: Option<&Issued>) -> String {
        match self.connect(client).await {
            Ok(mut stream) => ask_over(&mut stream).await,
            Err(error) => error.to_string(),
        }
    }

    async fn eventually(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let waiting = async {
            loop {
                ticks.tick().await;
                if condition().await {
                    return;
                }
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        waited.unwrap_or_else(|_| panic!("never: {what}"));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

async fn serve(service: TlsService, router: Router, shutdown: Shutdown) {
    serve_tls(service, router, shutdown).await.unwrap();
}

fn settings(directory: &Path) -> TlsSettings {
    TlsSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        certificate_file: directory.join("core.pem"),
        key_file: directory.join("core.key"),
        client_authority_file: directory.join("clients.pem"),
        client_names: vec![GATEWAY.to_owned()],
    }
}

fn write_pair(directory: &Path, (chain, key): &Issued) {
    std::fs::write(directory.join("core.key"), key).unwrap();
    std::fs::write(directory.join("core.pem"), chain).unwrap();
}

async fn ask_over(stream: &mut TlsStream<TcpStream>) -> String {
    let request = b"GET / HTTP/1.1\r\nhost: core\r\n\r\n";
    if let Err(error) = stream.write_all(request).await {
        return error.to_string();
    }
    let mut answer = Vec::new();
    // One answer has one body, and both end in these bytes.
    while !answer.ends_with(b"served") && !answer.ends_with(b"}") {
        match stream.read_buf(&mut answer).await {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return error.to_string(),
        }
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn tls8_only_a_client_that_is_expected_by_name_is_answered() {
    let service = Service::start().await;
    let expected = service.clients.client(GATEWAY);
    let answer = service.ask(Some(&expected)).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("served"),
        "{answer}"
    );

    let stranger = Authority::new("a stranger").client(GATEWAY);
    let another = service.clients.client("spiffe://bank.example/reporting");
    let longer = service.clients.client("spiffe://bank.example/gateway/2");
    let expired = service
        .clients
        .client_with(GATEWAY, |params| params.not_after = date_time_ymd(2026, 12, 31));
    let early = service
        .clients
        .client_with(GATEWAY, |params| params.not_before = date_time_ymd(2027, 12, 31));
    let server = service.clients.client_with(GATEWAY, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let silent = service
        .clients
        .client_with(GATEWAY, |params| params.extended_key_usages = Vec::new());
    for (what, client) in [
        ("no certificate", None),
        ("another authority", Some(&stranger)),
        ("another name", Some(&another)),
        ("a longer name", Some(&longer)),
        ("an expired one", Some(&expired)),
        ("one of next year", Some(&early)),
        ("one for servers", Some(&server)),
        ("one without a purpose", Some(&silent)),
    ] {
        let answer = service.ask(client).await;
        assert!(answer.contains("received fatal alert"), "{what}: {answer}");
    }
    let outcomes = String::from_utf8(crate::metrics::render().unwrap()).unwrap();
    let refused = r#"portico_service_tls_handshakes_total{outcome="refused"} "#;
    assert!(outcomes.contains(refused), "{outcomes}");
}

#[tokio::test]
async fn tls8_new_files_hold_for_connections_that_are_open_too() {
    let service = Service::start().await;
    let old = service.clients.client(GATEWAY);
    let mut open = service.connect(Some(&old)).await.unwrap();
    assert!(ask_over(&mut open).await.ends_with("served"));

    // Its own certificate: what is open stays, new connections see the new one.
    let shown = |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let before = shown(&open).into_owned();
    write_pair(service.directory.path(), &service.servers.server());
    service
        .eventually("the new certificate is shown", async || {
            let stream = service.connect(Some(&old)).await.unwrap();
            shown(&stream).as_ref() != before.as_ref()
        })
        .await;
    assert!(ask_over(&mut open).await.ends_with("served"));

    // Wrong files change nothing.
    let file = service.directory.path().join("clients.pem");
    std::fs::write(&file, "nonsense").unwrap();
    service
        .eventually("the wrong file is told", async || {
            let metrics = String::from_utf8(crate::metrics::render().unwrap()).unwrap();
            metrics.contains("portico_service_certificate_ok 0")
        })
        .await;
    assert!(ask_over(&mut open).await.ends_with("served"));

    // Another authority: nobody of the old one is served again, whenever it connected.
    let next = Authority::new("the next authority");
    std::fs::write(&file, next.0.pem()).unwrap();
    let new = next.client(GATEWAY);
    service
        .eventually("the new authority counts", async || {
            service.ask(Some(&new)).await.ends_with("served")
        })
        .await;
    let fallen = ask_over(&mut open).await;
    assert!(fallen.starts_with("HTTP/1.1 503"), "{fallen}");
    assert!(fallen.contains("connection: close"), "{fallen}");
    assert!(service.ask(Some(&old)).await.contains("received fatal alert"));
}

#[tokio::test]
async fn tls8_a_certificate_that_ends_ends_its_connection() {
    let service = Service::start().await;
    let client = service
        .clients
        .client_with(GATEWAY, |params| params.not_after = date_time_ymd(2027, 2, 1));
    let mut open = service.connect(Some(&client)).await.unwrap();
    assert!(ask_over(&mut open).await.ends_with("served"));
    service.clock.advance(TimeDelta::days(30));
    assert!(ask_over(&mut open).await.starts_with("HTTP/1.1 503"));
}

#[test]
fn settings_say_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(directory.path());
    settings.client_names = Vec::new();
    let faults = settings.faults();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(
        faults[0].contains("client_names") && faults[1].contains("core.pem"),
        "{faults:?}"
    );

    let (servers, now): (_, DateTime<Utc>) = (Authority::new("servers"), Clock::system().now());
    let expired = servers.issue(|params| params.not_after = date_time_ymd(2020, 1, 1));
    write_pair(directory.path(), &expired);
    std::fs::write(directory.path().join("clients.pem"), servers.0.pem()).unwrap();
    settings.client_names = vec![GATEWAY.to_owned()];
    let faults = settings.faults();
    assert!(faults[0].contains("expired"), "{now}: {faults:?}");

    let foreign = (servers.server().0, servers.server().1);
    write_pair(directory.path(), &foreign);
    assert!(settings.faults()[0].contains("do not belong together"));
}
