//! The listener for gateways: who they are is what their certificate says.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use service_runtime::settings::Environment;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Plane;
use crate::fleet::{Fleet, FleetSettings, for_members, serve_members};

/// The name that the listener is called by.
const NAME: &str = "control.bank.internal";

type Issued = (String, String);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, names: &[&str], purpose: ExtendedKeyUsagePurpose) -> Issued {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.contains(':') {
                true => SanType::URI((*name).try_into().unwrap()),
                false => SanType::DnsName((*name).try_into().unwrap()),
            })
            .collect();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        (
            params.signed_by(&key, &self.0).unwrap().pem(),
            key.serialize_pem(),
        )
    }
}

/// A listener of a control plane, and who vouches for whom.
struct Listening {
    plane: Plane,
    address: SocketAddr,
    authority: Authority,
    _files: TempDir,
}

impl Listening {
    async fn start() -> Self {
        service_runtime::crypto::install_provider();
        let plane = Plane::start().await;
        let authority = Authority::new();
        let files = tempfile::tempdir().unwrap();
        let (chain, key) = authority.issue(&[NAME], ExtendedKeyUsagePurpose::ServerAuth);
        for (file, text) in [("chain", &chain), ("key", &key), ("ca", &authority.0.pem())] {
            std::fs::write(files.path().join(file), text).unwrap();
        }
        let settings = settings(&plane, files.path());
        assert_eq!(settings.faults(Environment::Test), Vec::<String>::new());
        let listener = Fleet::new(Some(settings)).unwrap();
        let router = service_runtime::http::layers(for_members(plane.state.clone()), "control-plane");
        let address = serve_members(&listener, router, &plane.state.shutdown)
            .await
            .unwrap()
            .unwrap();
        Self {
            plane,
            address,
            authority,
            _files: files,
        }
    }

    /// What is answered to a gateway with this certificate; an error when it does not get that far.
    async fn ask(&self, client: Option<&Issued>, path: &str) -> std::io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.authority.0.pem().as_bytes()).unwrap())
            .unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
                builder
                    .with_client_auth_cert(
                        vec![chain],
                        PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                    )
                    .unwrap()
            }
        };
        let socket = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(NAME).unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {NAME}\r\nx-node: edge-9\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(String::from_utf8(answer).unwrap())
    }
}

fn settings(plane: &Plane, files: &Path) -> FleetSettings {
    FleetSettings {
        listen: Some("127.0.0.1:0".parse().unwrap()),
        certificate: Some(files.join("chain")),
        key: Some(files.join("key")),
        client_ca: Some(files.join("ca")),
        ..plane.state.fleet.settings.clone().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls8_a_gateway_is_who_its_certificate_says_and_nobody_else_gets_in() {
    let listening = Listening::start().await;
    let client = |names: &[&str]| {
        listening
            .authority
            .issue(names, ExtendedKeyUsagePurpose::ClientAuth)
    };
    let answer = listening
        .ask(Some(&client(&["edge-1.bank.internal"])), "/fleet/v1/trust")
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let row = listening.plane.row("SELECT name FROM control.node").await;
    assert_eq!(
        sqlx::Row::get::<String, _>(&row, 0),
        "edge-1.bank.internal",
        "whatever x-node says"
    );

    // A second name of another kind is no second DNS name.
    let answer = listening
        .ask(
            Some(&client(&["edge-2", "spiffe://bank/edge-2"])),
            "/fleet/v1/trust",
        )
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for names in [&["edge-1", "edge-2"][..], &["spiffe://bank/edge-1"], &["edge_1"]] {
        let answer = listening
            .ask(Some(&client(names)), "/fleet/v1/trust")
            .await
            .unwrap();
        assert!(answer.starts_with("HTTP/1.1 403"), "{names:?}: {answer}");
    }
    for path in [
        "/internal/keys",
        "/internal/revocations",
        "/internal/fleet",
        "/internal/fleet/export",
        "/internal/trust",
    ] {
        let answer = listening.ask(Some(&client(&["edge-1"])), path).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 404"),
            "{path} is for operators: {answer}"
        );
    }

    let stranger = Authority::new().issue(&["edge-1"], ExtendedKeyUsagePurpose::ClientAuth);
    let server = listening
        .authority
        .issue(&["edge-1"], ExtendedKeyUsagePurpose::ServerAuth);
    for refused in [None, Some(&stranger), Some(&server)] {
        let answer = listening.ask(refused, "/fleet/v1/trust").await;
        assert!(answer.is_err(), "{answer:?}");
    }
    let answer = listening
        .plane
        .call("POST", "/internal/fleet/nodes/edge-2/evict", None)
        .await;
    assert_eq!(answer.0, http::StatusCode::NO_CONTENT);
    let answer = listening
        .ask(Some(&client(&["edge-2"])), "/fleet/v1/trust")
        .await
        .unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("node-evicted"),
        "{answer}"
    );
    listening.plane.state.shutdown.trigger();
}

#[test]
fn a_fleet_with_half_a_listener_or_of_another_environment_is_refused() {
    let valid = FleetSettings {
        name: "bank".to_owned(),
        environment: "production".to_owned(),
        roots: Vec::new(),
        root_threshold: 1,
        statement_validity_s: 86_400,
        listen: None,
        certificate: None,
        key: None,
        client_ca: None,
    };
    assert_eq!(valid.faults(Environment::Production), Vec::<String>::new());
    assert_eq!(valid.faults(Environment::Test).len(), 1);
    let wrong = FleetSettings {
        name: String::new(),
        roots: vec!["short".to_owned()],
        statement_validity_s: 1,
        listen: Some("127.0.0.1:0".parse().unwrap()),
        ..valid
    };
    let faults = wrong.faults(Environment::Production);
    assert_eq!(faults.len(), 4, "{faults:?}");
}
