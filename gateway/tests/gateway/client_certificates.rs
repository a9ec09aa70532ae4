//! Routes that are open to certain client certificates (TLS-6).

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion, version};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::authority::{Authority, Issued};
use crate::gateway_process::{GatewayProcess, POLICY, eventually, now};
use crate::raw_upstream::read_message;
use crate::websocket::{AGREED, KEY, expect, frame};

pub(crate) const PAYROLL: &str = "spiffe://bank.example/payroll";
const LISTENER: &str = r#"listeners:
  partners:
    https: { bind: "127.0.0.1:0", tls: { min: "1.2", certificate: gateway, client_authority: partners } }
"#;
const ROUTE: &str = r#"routes:
  payroll:
    match: { method: GET, path: /api/v1/rates/payroll }
    auth: none
    because: the client certificate says who it is
    client_certificate: { authority: partners, names: ["spiffe://bank.example/payroll"] }
    upstream: core
"#;

/// A gateway with a listener for partners, and their authority.
pub(crate) struct Partners {
    pub(crate) gateway: GatewayProcess,
    pub(crate) authority: Authority,
}

impl Partners {
    pub(crate) async fn start() -> Self {
        Self::with(POLICY).await
    }

    pub(crate) async fn with(policy: &str) -> Self {
        Self::prepared(policy, |_| ()).await
    }

    /// With more files; `prepare` gets the folder of the certificates.
    pub(crate) async fn prepared(policy: &str, prepare: impl FnOnce(&Path)) -> Self {
        let policy = policy
            .replace("listeners:\n", LISTENER)
            .replace("routes:\n", ROUTE);
        let authority = Authority::new("Partners");
        let gateway = GatewayProcess::with_policy(&policy, |directory| {
            std::fs::write(directory.join("partners.ca.pem"), authority.pem()).unwrap();
            write_list(directory, &authority.revoke(&[], in_days(30)));
            prepare(directory);
        })
        .await;
        Self { gateway, authority }
    }

    pub(crate) fn revoke(&self, serials: &[u64], until: DateTime<Utc>) {
        let list = self.authority.revoke(serials, until);
        write_list(&self.gateway.directory.path().join("tls"), &list);
    }

    /// Connects with a client certificate, or with none.
    pub(crate) async fn connect(&self, client: Option<&Issued>) -> Connected {
        let config = self.config(client);
        self.connect_with(Arc::new(config), "localhost").await
    }

    fn config(&self, client: Option<&Issued>) -> ClientConfig {
        self.config_over(rustls::DEFAULT_VERSIONS, client)
    }

    fn config_over(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        client: Option<&Issued>,
    ) -> ClientConfig {
        use rustls_pki_types::pem::PemObject as _;
        let mut roots = rustls::RootCertStore::empty();
        let ca = rustls_pki_types::CertificateDer::from_pem_slice(self.gateway.ca.as_bytes()).unwrap();
        roots.add(ca).unwrap();
        let builder = ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots);
        match client {
            Some(client) => {
                let (chain, key) = client.der();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        }
    }

    async fn connect_with(&self, config: Arc<ClientConfig>, name: &str) -> Connected {
        let socket = TcpStream::connect(self.gateway.address("partners.https"))
            .await
            .unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Connected(TlsConnector::from(config).connect(name, socket).await.unwrap())
    }

    /// What a fresh connection with this certificate comes to: a status, or what the gateway's alert says.
    pub(crate) async fn outcome(&self, client: Option<&Issued>) -> Result<u16, String> {
        self.connect(client).await.get(PATH).await
    }
}

pub(crate) const PATH: &str = "/api/v1/rates/payroll";

pub(crate) struct Connected(TlsStream<TcpStream>);

impl Connected {
    pub(crate) async fn get(&mut self, path: &str) -> Result<u16, String> {
        self.get_as(path, "localhost", "").await.map(|(status, _)| status)
    }

    pub(crate) async fn get_as(
        &mut self,
        path: &str,
        host: &str,
        fields: &str,
    ) -> Result<(u16, String), String> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n");
        let stream = &mut self.0;
        stream
            .write_all(request.as_bytes())
            .await
            .map_err(|error| error.to_string())?;
        let mut bytes = [0; 8192];
        // In TLS 1.3 the client learns here, not in the handshake, that its certificate was refused.
        let length = stream.read(&mut bytes).await.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        Ok((status, text))
    }
}

pub(crate) fn in_days(days: i64) -> DateTime<Utc> {
    now() + TimeDelta::days(days)
}

pub(crate) fn write_list(directory: &Path, list: &str) {
    std::fs::write(directory.join("partners.crl.pem"), list).unwrap();
}

#[tokio::test]
async fn tls6_the_right_certificate_opens_the_route_and_nothing_else_does() {
    let partners = Partners::start().await;
    let right = partners.authority.issue_to_client(PAYROLL, 1);
    assert_eq!(partners.outcome(Some(&right)).await, Ok(200));
    let other = partners
        .authority
        .issue_to_client("spiffe://bank.example/payroll/x", 2);
    assert_eq!(partners.outcome(Some(&other)).await, Ok(403), "another name");
    assert_eq!(partners.outcome(None).await, Ok(403), "no certificate");
    assert_eq!(
        partners.gateway.get(PATH).await.status(),
        403,
        "a listener that asks for none"
    );
    // Other routes of the listener need none.
    assert_eq!(
        partners.connect(None).await.get("/api/v1/rates/eur-usd").await,
        Ok(200)
    );

    let forger = Authority::new("Partners");
    let forged = forger.issue_to_client(PAYROLL, 1);
    let refused = partners.outcome(Some(&forged)).await.unwrap_err();
    assert!(refused.contains("alert"), "{refused}");
}

#[tokio::test]
async fn tls6_a_certificate_that_is_not_for_clients_is_refused() {
    let partners = Partners::start().await;
    for usages in [vec![ExtendedKeyUsagePurpose::ServerAuth], vec![]] {
        let wrong = partners.authority.issue_with(&[], |params| {
            params.subject_alt_names = vec![SanType::URI(PAYROLL.try_into().unwrap())];
            params.extended_key_usages.clone_from(&usages);
        });
        let refused = partners.outcome(Some(&wrong)).await.unwrap_err();
        assert!(refused.contains("alert"), "{usages:?}: {refused}");
    }
}

#[tokio::test]
async fn tls6_who_is_revoked_is_out_at_once_also_on_an_open_connection() {
    let partners = Partners::start().await;
    let (one, two) = (
        partners.authority.issue_to_client(PAYROLL, 1),
        partners.authority.issue_to_client(PAYROLL, 2),
    );
    let (mut open, mut stays) = (
        partners.connect(Some(&one)).await,
        partners.connect(Some(&two)).await,
    );
    assert_eq!(open.get(PATH).await, Ok(200));

    partners.revoke(&[1], in_days(30));
    eventually("the revoked certificate is refused", || async {
        partners.outcome(Some(&one)).await.is_err()
    })
    .await;
    assert_eq!(open.get(PATH).await, Ok(403), "the connection was open before");
    assert_eq!(stays.get(PATH).await, Ok(200));
    assert_eq!(partners.outcome(Some(&two)).await, Ok(200));
}

#[tokio::test]
async fn tls6_who_is_revoked_loses_the_socket_that_is_open() {
    let route = ROUTE
        .replace("payroll:\n", "follow:\n")
        .replace("/api/v1/rates/payroll", "/api/v1/events")
        .replace("upstream: core", "upstream: events");
    loses_its_socket(&route, |_, _| String::new()).await;
}

/// Opens a socket on this route with a client certificate and these fields, and loses it with the certificate.
pub(crate) async fn loses_its_socket(route: &str, fields: impl FnOnce(&Partners, &Issued) -> String) {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = upstream.local_addr().unwrap();
    let service = format!(
        "upstreams:\n  events:\n    address: http://{address}\n    authorization: strip\n    timeouts: {{ connect: 1s, read: 2s, total: 4s }}\n"
    );
    let route = format!("{route}    websocket: {{ idle_timeout: 10min, max_frame: 1KiB }}\n");
    let policy = POLICY
        .replace("upstreams:\n", &service)
        .replace("routes:\n", &route);
    let partners = Partners::with(&policy).await;
    let client = partners.authority.issue_to_client(PAYROLL, 1);
    let fields = fields(&partners, &client);
    let Connected(mut stream) = partners.connect(Some(&client)).await;
    let asked = format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n{fields}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).await.unwrap();
    let (mut server, _) = upstream.accept().await.unwrap();
    read_message(&mut server, &mut Vec::new()).await.unwrap();
    server.write_all(AGREED.as_bytes()).await.unwrap();
    let hello = frame(0x81, b"hello", None);
    server.write_all(&hello).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(&hello) {
        assert_ne!(
            stream.read_buf(&mut seen).await.unwrap(),
            0,
            "{}",
            seen.escape_ascii()
        );
    }

    partners.revoke(&[1], in_days(30));
    let told = [
        &1008_u16.to_be_bytes()[..],
        b"the client certificate is good no longer",
    ]
    .concat();
    expect(&mut stream, &frame(0x88, &told, None)).await;
}

#[tokio::test]
async fn tls6_when_the_revocation_list_has_ended_nobody_is_let_in() {
    let partners = Partners::start().await;
    let client = partners.authority.issue_to_client(PAYROLL, 1);
    let mut open = partners.connect(Some(&client)).await;
    assert_eq!(open.get(PATH).await, Ok(200));
    partners.gateway.clock.advance(TimeDelta::days(31));
    assert_eq!(open.get(PATH).await, Ok(403));
    assert!(partners.outcome(Some(&client)).await.is_err());
    assert_eq!(
        partners.connect(None).await.get("/api/v1/rates/eur-usd").await,
        Ok(200),
        "other routes go on"
    );

    partners.revoke(&[], in_days(60));
    eventually("a new list lets clients in again", || async {
        partners.outcome(Some(&client)).await == Ok(200)
    })
    .await;
    assert_eq!(open.get(PATH).await, Ok(200));
}

#[tokio::test]
async fn tls6_a_list_that_is_wrong_changes_nothing_and_a_metric_says_so() {
    let partners = Partners::start().await;
    let ok = r#"portico_client_authority_ok{authority="partners"}"#;
    let client = partners.authority.issue_to_client(PAYROLL, 1);
    let directory = partners.gateway.directory.path().join("tls");
    let of_another = Authority::new("Another").revoke(&[], in_days(30));
    for wrong in ["", "nothing", of_another.as_str()] {
        write_list(&directory, wrong);
        eventually("the fault is reported", || async {
            partners.gateway.metric(ok).await == Some(0)
        })
        .await;
        assert_eq!(partners.outcome(Some(&client)).await, Ok(200), "{wrong}");
        partners.revoke(&[7], in_days(30));
        eventually("a good list mends it", || async {
            partners.gateway.metric(ok).await == Some(1)
        })
        .await;
    }
}

#[tokio::test]
async fn tls3_where_client_certificates_count_the_host_is_the_name_of_the_handshake() {
    let partners = Partners::start().await;
    let client = partners.authority.issue_to_client(PAYROLL, 1);
    let mut connected = partners.connect(Some(&client)).await;
    let other_host = connected.get_as(PATH, "api.bank.example", "").await.unwrap();
    assert_eq!(other_host.0, 421, "the certificate of the gateway is for it, too");
}

#[tokio::test]
async fn tls3_a_session_with_a_client_certificate_is_never_resumed() {
    let partners = Partners::start().await;
    let client = partners.authority.issue_to_client(PAYROLL, 1);
    for versions in [[&version::TLS13], [&version::TLS12]] {
        let mut config = partners.config_over(&versions, Some(&client));
        config.resumption = Resumption::in_memory_sessions(8);
        let config = Arc::new(config);
        for _ in 0..3 {
            let mut connected = partners.connect_with(config.clone(), "localhost").await;
            assert_eq!(connected.get(PATH).await, Ok(200));
            let kind = connected.0.get_ref().1.handshake_kind();
            assert_ne!(kind, Some(HandshakeKind::Resumed), "{versions:?}");
        }
    }
}

#[tokio::test]
async fn tls6_the_upstream_hears_the_name_from_us_alone() {
    let partners = Partners::start().await;
    let client = partners.authority.issue_to_client(PAYROLL, 1);
    let forged = "x-client-cert: forged\r\nx-client-cert-name: spiffe://bank.example/root\r\nX-Client-Cert-Chain: x\r\n";
    let mut connected = partners.connect(Some(&client)).await;
    connected.get_as(PATH, "localhost", forged).await.unwrap();
    connected
        .get_as("/api/v1/rates/eur-usd", "localhost", forged)
        .await
        .unwrap();
    let seen = partners.gateway.core.seen();
    let names: Vec<Vec<(String, String)>> = seen
        .iter()
        .map(|request| {
            let fields = request.headers.iter();
            fields
                .filter(|(name, _)| name.as_str().starts_with("x-client-cert"))
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect()
        })
        .collect();
    let ours = vec![("x-client-cert-name".to_owned(), PAYROLL.to_owned())];
    assert_eq!(names, [ours, vec![]]);
}
