//! The TLS side of the listener.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gateway::Settings;
use gateway::settings::ConnectionSettings;
use rustls::{ClientConfig, NamedGroup, ProtocolVersion, version};
use rustls_pki_types::ServerName;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::gateway_process::{GatewayProcess, POLICY, eventually};

async fn connect(
    gateway: &GatewayProcess,
    config: ClientConfig,
    name: &str,
) -> std::io::Result<(ProtocolVersion, NamedGroup)> {
    connect_to(gateway.https, config, name).await
}

async fn connect_to(
    address: SocketAddr,
    config: ClientConfig,
    name: &str,
) -> std::io::Result<(ProtocolVersion, NamedGroup)> {
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
    let session = stream.get_ref().1;
    let group = session.negotiated_key_exchange_group().unwrap().name();
    Ok((session.protocol_version().unwrap(), group))
}

#[tokio::test]
async fn tls1_the_newest_version_and_the_hybrid_exchange_are_preferred() {
    let gateway = GatewayProcess::start().await;
    let (version, group) = connect(&gateway, gateway.tls_config(), "localhost")
        .await
        .unwrap();
    assert_eq!(version, ProtocolVersion::TLSv1_3);
    assert_eq!(group, NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn tls2_only_names_of_the_certificate_are_answered() {
    let everywhere = |settings: &mut Settings| {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        settings.listen.insert("public.https".to_owned(), any);
    };
    let gateway = GatewayProcess::with(POLICY, everywhere).await;
    assert!(
        connect(&gateway, gateway.tls_config(), "api.bank.example")
            .await
            .is_ok()
    );
    // A client that addresses an IP sends no name: the one that it reached counts.
    assert!(connect(&gateway, gateway.tls_config(), "127.0.0.1").await.is_ok());
    let other = SocketAddr::from(([127, 0, 0, 2], gateway.https.port()));
    for (address, name) in [(gateway.https, "evil.example"), (other, "127.0.0.1")] {
        let stranger = connect_to(address, gateway.tls_config(), name).await.unwrap_err();
        assert!(
            stranger.to_string().contains("UnrecognisedName"),
            "{name} at {address}: {stranger}"
        );
    }
    let counted = gateway
        .metric(r#"portico_tls_handshakes_total{outcome="unrecognized_name"}"#)
        .await;
    assert_eq!(counted, Some(2));
}

fn tls12_only(gateway: &GatewayProcess) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    use rustls_pki_types::pem::PemObject as _;
    roots
        .add(rustls_pki_types::CertificateDer::from_pem_slice(gateway.ca.as_bytes()).unwrap())
        .unwrap();
    ClientConfig::builder_with_protocol_versions(&[&version::TLS12])
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[tokio::test]
async fn the_lowest_version_is_policy_and_follows_it_live() {
    let gateway = GatewayProcess::start().await;
    let (version, _) = connect(&gateway, tls12_only(&gateway), "localhost")
        .await
        .unwrap();
    assert_eq!(version, ProtocolVersion::TLSv1_2);

    let stricter = POLICY.replace(r#"min: "1.2""#, r#"min: "1.3""#);
    gateway.policy_file("base.yaml", &stricter);
    eventually("TLS 1.2 is refused", || async {
        connect(&gateway, tls12_only(&gateway), "localhost")
            .await
            .is_err()
    })
    .await;
    assert!(connect(&gateway, gateway.tls_config(), "localhost").await.is_ok());
}

#[tokio::test]
async fn tls7_a_handshake_that_does_not_come_is_cut() {
    let bounds = ConnectionSettings {
        handshake_timeout_ms: 200,
        ..ConnectionSettings::default()
    };
    let gateway = GatewayProcess::with_connections(bounds).await;
    let mut silent = TcpStream::connect(gateway.https).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(5), silent.read(&mut [0; 1])).await;
    assert_eq!(closed.expect("the gateway closes").unwrap(), 0);
    gateway
        .counts(r#"portico_tls_handshakes_total{outcome="timeout"}"#, 1)
        .await;
}

#[tokio::test]
async fn one_address_gets_so_many_connections_and_no_more() {
    let bounds = ConnectionSettings {
        max_per_address: 3,
        handshakes_per_second: 0,
        ..ConnectionSettings::default()
    };
    let gateway = GatewayProcess::with_connections(bounds).await;
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..8 {
        match connect_and_hold(&gateway).await {
            Ok(stream) => held.push(stream),
            Err(_) => refused += 1,
        }
    }
    assert!(
        held.len() <= 3 && refused >= 5,
        "{} held, {refused} refused",
        held.len()
    );
    let counted = gateway
        .metric(r#"portico_connections_refused_total{reason="address"}"#)
        .await;
    assert_eq!(counted, Some(refused));
}

#[tokio::test]
async fn tls7_one_address_begins_so_many_handshakes_and_another_one_is_served() {
    let bounds = ConnectionSettings {
        max_per_address: 30,
        handshakes_per_second: 1,
        ..ConnectionSettings::default()
    };
    let gateway = GatewayProcess::with_connections(bounds).await;
    let counted = r#"portico_connections_refused_total{reason="handshakes"}"#;
    eventually("there were too many", || async {
        drop(TcpStream::connect(gateway.https).await.unwrap());
        gateway.metric(counted).await >= Some(1)
    })
    .await;
    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let socket = other.connect(gateway.https).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(gateway.tls_config()));
    assert!(connector.connect(name, socket).await.is_ok());
}

async fn connect_and_hold(
    gateway: &GatewayProcess,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let socket = TcpStream::connect(gateway.https).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(gateway.tls_config()))
        .connect(name, socket)
        .await
}
