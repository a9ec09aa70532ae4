//! What clients are offered: Mozilla's profiles, in our own words and by sslyze.

use std::process::Command;
use std::sync::Arc;

use chrono::{NaiveTime, TimeDelta};
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, NamedGroup, RootCertStore, SupportedProtocolVersion, version,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use service_runtime::clock::Clock;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::authority::ymd;
use crate::clients::exchange;
use crate::gateway_process::{GatewayProcess, POLICY, eventually};

const SSLYZE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/sslyze/bin/sslyze");

/// The policy, with this lowest version.
fn policy(min: &str) -> String {
    POLICY.replace(r#"min: "1.2""#, &format!("min: \"{min}\""))
}

/// Every suite that rustls knows and Mozilla's intermediate profile names for an ECDSA certificate.
const INTERMEDIATE: [(CipherSuite, &SupportedProtocolVersion); 6] = [
    (CipherSuite::TLS13_AES_256_GCM_SHA384, &version::TLS13),
    (CipherSuite::TLS13_AES_128_GCM_SHA256, &version::TLS13),
    (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, &version::TLS13),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        &version::TLS12,
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        &version::TLS12,
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        &version::TLS12,
    ),
];

/// A handshake in which the client offers this and nothing else; the suite and the group that came of it.
async fn offer(
    gateway: &GatewayProcess,
    suite: CipherSuite,
    version: &'static SupportedProtocolVersion,
    groups: &[NamedGroup],
) -> std::io::Result<NamedGroup> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|known| known.suite() == suite);
    let known = provider.kx_groups.clone();
    provider.kx_groups = groups
        .iter()
        .map(|group| *known.iter().find(|known| known.name() == *group).unwrap())
        .collect();
    let config = client(gateway, provider, version);
    let socket = TcpStream::connect(gateway.https).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
    let session = stream.get_ref().1;
    assert_eq!(session.negotiated_cipher_suite().unwrap().suite(), suite);
    Ok(session.negotiated_key_exchange_group().unwrap().name())
}

fn client(
    gateway: &GatewayProcess,
    provider: CryptoProvider,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(gateway.ca.as_bytes()).unwrap())
        .unwrap();
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[tokio::test]
async fn tls1_the_suites_are_mozillas_and_the_lowest_version_is_the_policys() {
    for (min, older_is_taken) in [("1.2", true), ("1.3", false)] {
        let gateway = GatewayProcess::with_policy(&policy(min), |_| ()).await;
        for (suite, version) in INTERMEDIATE {
            let taken = offer(&gateway, suite, version, &[NamedGroup::X25519]).await;
            let expected = version == &version::TLS13 || older_is_taken;
            assert_eq!(taken.is_ok(), expected, "{min} {suite:?}: {taken:?}");
        }
    }
}

#[tokio::test]
async fn tls10_the_hybrid_exchange_is_taken_and_a_guess_of_the_client_costs_no_round_trip() {
    let gateway = GatewayProcess::start().await;
    let suite = CipherSuite::TLS13_AES_128_GCM_SHA256;
    let offers: [(&[NamedGroup], NamedGroup); 3] = [
        (
            &[NamedGroup::X25519MLKEM768, NamedGroup::X25519],
            NamedGroup::X25519MLKEM768,
        ),
        (
            &[NamedGroup::X25519, NamedGroup::X25519MLKEM768],
            NamedGroup::X25519,
        ),
        (&[NamedGroup::secp256r1], NamedGroup::secp256r1),
    ];
    for (offered, expected) in offers {
        let taken = offer(&gateway, suite, &version::TLS13, offered).await.unwrap();
        assert_eq!(taken, expected, "{offered:?}");
    }
}

#[tokio::test]
async fn tls1_no_early_data_is_taken() {
    let gateway = GatewayProcess::start().await;
    let mut config = client(&gateway, aws_lc_rs::default_provider(), &version::TLS13);
    config.enable_early_data = true;
    let config = Arc::new(config);
    let name = ServerName::try_from("localhost").unwrap();
    let socket = TcpStream::connect(gateway.https).await.unwrap();
    let connecting = TlsConnector::from(config.clone()).connect(name.clone(), socket);
    let mut stream = connecting.await.unwrap();
    // The ticket comes with the answer.
    exchange(
        &mut stream,
        "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n",
    )
    .await;
    let mut next = ClientConnection::new(config, name).unwrap();
    assert!(
        next.early_data().is_none(),
        "the ticket of the gateway allows none"
    );
}

#[tokio::test]
async fn tls1_sslyze_finds_nothing_against_mozillas_profiles() {
    let now = Clock::system().now();
    for (min, profile) in [("1.2", "intermediate"), ("1.3", "modern")] {
        let gateway = GatewayProcess::with_real_clock(&policy(min)).await;
        let ends = now + TimeDelta::days(60);
        let midnight = ends.date_naive().and_time(NaiveTime::MIN).and_utc();
        let issued =
            gateway
                .authority
                .issue_with(&["localhost", "127.0.0.1", "api.bank.example"], |params| {
                    let day = |(year, month, day)| date_time_ymd(year, month, day);
                    params.not_before = day(ymd(now - TimeDelta::days(1)));
                    params.not_after = day(ymd(ends));
                    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                });
        issued.write(&gateway.directory.path().join("tls"), "gateway");
        let shown = r#"portico_certificate_expires_timestamp_seconds{certificate="gateway"}"#;
        eventually("the short certificate is shown", || async {
            gateway.metric(shown).await == Some(midnight.timestamp())
        })
        .await;
        let target = format!("localhost:{}", gateway.https.port());
        let ca = gateway.directory.path().join("ca.pem");
        std::fs::write(&ca, &gateway.ca).unwrap();
        let scan = move || {
            let mut command = Command::new(SSLYZE);
            command.args(["--mozilla_config", profile, "--certinfo_ca_file"]);
            command.arg(ca).arg(target).output()
        };
        let output = tokio::task::spawn_blocking(scan).await.unwrap();
        let output = output.expect("no sslyze: scripts/install-tools sslyze");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{profile}: {said}");
        assert!(said.contains("OK - Compliant"), "{profile}: {said}");
    }
}
