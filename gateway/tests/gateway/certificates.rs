//! Several certificates on one listener, and certificates that change while connections go on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use rcgen::date_time_ymd;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{DigitallySignedStruct, HandshakeKind, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::access_log::Log;
use crate::authority::{Issued, staple};
use crate::clients::exchange;
use crate::gateway_process::{CERTIFICATE_NAMES, GatewayProcess, POLICY, eventually};

const OVERLAY: &str = "version: 1\nenvironment: test\n\
    hosts: [localhost, 127.0.0.1, api.bank.example, pay.partner.example, orders.example]\n";

/// Two certificates on the listener; one of them has a wildcard.
async fn two_certificates() -> GatewayProcess {
    let policy = POLICY.replace(
        "certificate: gateway",
        "certificate: gateway, more_certificates: [partner]",
    );
    let gateway = GatewayProcess::with_policy(&policy, |directory| {
        std::fs::write(directory.join("../policies/environments/test.yaml"), OVERLAY).unwrap();
        let unknown = crate::authority::Authority::new("replaced below");
        unknown.issue(&["*.partner.example"]).write(directory, "partner");
    })
    .await;
    let issued = gateway.authority.issue(&["*.partner.example", "partner.example"]);
    replace(&gateway, "partner", &issued.chain, &issued.key);
    eventually("the partner's certificate is of the authority", || async {
        connect(&gateway, "pay.partner.example").await.is_ok()
    })
    .await;
    gateway
}

fn replace(gateway: &GatewayProcess, name: &str, chain: &str, key: &str) {
    let directory = gateway.directory.path().join("tls");
    std::fs::write(directory.join(format!("{name}.key")), key).unwrap();
    std::fs::write(directory.join(format!("{name}.pem")), chain).unwrap();
}

pub(crate) async fn connect(gateway: &GatewayProcess, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let config = Arc::new(gateway.tls_config());
    connect_with(gateway, config, name).await
}

async fn connect_with(
    gateway: &GatewayProcess,
    config: Arc<rustls::ClientConfig>,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(gateway.https).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(config).connect(name, socket).await
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    chain[0].clone()
}

async fn status(stream: &mut TlsStream<TcpStream>, host: &str) -> u16 {
    let request = format!("GET /health/live HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let answer = exchange(stream, &request).await;
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

async fn ok(gateway: &GatewayProcess, name: &str) -> Option<i64> {
    gateway
        .metric(&format!(r#"portico_certificate_ok{{certificate="{name}"}}"#))
        .await
}

#[tokio::test]
async fn tls2_the_name_chooses_the_certificate_and_a_wildcard_stands_for_one_label() {
    let gateway = two_certificates().await;
    let own = shown(&connect(&gateway, "api.bank.example").await.unwrap());
    let partner = shown(&connect(&gateway, "pay.partner.example").await.unwrap());
    assert_ne!(own, partner);
    assert_eq!(
        partner,
        shown(&connect(&gateway, "partner.example").await.unwrap())
    );
    assert_eq!(
        partner,
        shown(&connect(&gateway, "PAY.partner.EXAMPLE").await.unwrap())
    );

    for stranger in ["a.b.partner.example", "bank.example", "xpartner.example"] {
        let error = connect(&gateway, stranger).await.unwrap_err().to_string();
        assert!(error.contains("UnrecognisedName"), "{stranger}: {error}");
    }
}

#[tokio::test]
async fn tls2_a_name_that_stands_in_a_certificate_comes_before_a_wildcard_and_the_first_before_the_others() {
    let policy = POLICY.replace(
        "certificate: gateway",
        "certificate: gateway, more_certificates: [wild, exact, last]",
    );
    let pem = std::sync::OnceLock::new();
    let gateway = GatewayProcess::with_policy(&policy, |directory| {
        std::fs::write(directory.join("../policies/environments/test.yaml"), OVERLAY).unwrap();
        let authority = crate::authority::Authority::new("of the others");
        let wild = authority.issue(&["*.partner.example"]);
        let exact = authority.issue(&["pay.partner.example"]);
        let last = authority.issue(&["pay.partner.example", "*.partner.example", "localhost"]);
        for (name, issued) in [("wild", &wild), ("exact", &exact), ("last", &last)] {
            issued.write(directory, name);
        }
        pem.set([wild, exact]).unwrap_or_default();
    })
    .await;
    let [wild, exact] = pem.get().unwrap();
    let shown_for = async |name: &str| {
        let mut config = gateway.tls_config();
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(Stapled::default()));
        shown(&connect_with(&gateway, Arc::new(config), name).await.unwrap())
    };
    assert_eq!(shown_for("pay.partner.example").await, exact.der().0[0]);
    assert_eq!(shown_for("other.partner.example").await, wild.der().0[0]);
    let own = shown(&connect(&gateway, "localhost").await.unwrap());
    assert_eq!(shown_for("localhost").await, own);
}

#[tokio::test]
async fn tls4_what_a_pair_must_be_for_is_asked_again_when_the_policy_names_other_hosts() {
    let gateway = GatewayProcess::start().await;
    let narrower = gateway.authority.issue(&["localhost", "127.0.0.1"]);
    let before = shown(&connect(&gateway, "localhost").await.unwrap());
    replace(&gateway, "gateway", &narrower.chain, &narrower.key);
    eventually("a host is missing", || async {
        ok(&gateway, "gateway").await == Some(0)
    })
    .await;
    assert_eq!(shown(&connect(&gateway, "localhost").await.unwrap()), before);
    let overlay = "version: 1\nenvironment: test\nhosts: [localhost, 127.0.0.1]\n";
    gateway.policy_file("environments/test.yaml", overlay);
    eventually("no host is missing any more", || async {
        shown(&connect(&gateway, "localhost").await.unwrap()) == narrower.der().0[0]
    })
    .await;
    assert_eq!(ok(&gateway, "gateway").await, Some(1));
}

#[tokio::test]
async fn tls3_a_connection_is_for_the_hosts_of_its_certificate() {
    let gateway = two_certificates().await;
    let mut own = connect(&gateway, "api.bank.example").await.unwrap();
    assert_eq!(status(&mut own, "api.bank.example").await, 200);
    assert_eq!(
        status(&mut own, "orders.example:443").await,
        200,
        "the same certificate is for it"
    );
    assert_eq!(status(&mut own, "pay.partner.example").await, 421);
    let counted = gateway
        .metric(r#"portico_refused_heads_total{rule="TLS-3"}"#)
        .await;
    assert_eq!(counted, Some(1));
}

#[tokio::test]
async fn tls3_no_session_is_resumed_under_another_certificate() {
    let gateway = two_certificates().await;
    let config = Arc::new(gateway.tls_config());
    let kind = async |name: &str| {
        let mut stream = connect_with(&gateway, config.clone(), name).await.unwrap();
        // The tickets come with the answer.
        assert_eq!(status(&mut stream, name).await, 200);
        stream.get_ref().1.handshake_kind().unwrap()
    };
    assert_ne!(kind("api.bank.example").await, HandshakeKind::Resumed);
    assert_eq!(kind("api.bank.example").await, HandshakeKind::Resumed);
    assert_ne!(kind("pay.partner.example").await, HandshakeKind::Resumed);
}

#[tokio::test]
async fn tls4_a_new_pair_is_shown_to_new_connections_and_old_ones_go_on() {
    let gateway = GatewayProcess::start().await;
    let mut old = connect(&gateway, "localhost").await.unwrap();
    let before = shown(&old);
    let issued = gateway
        .authority
        .issue(&["localhost", "127.0.0.1", "api.bank.example"]);
    replace(&gateway, "gateway", &issued.chain, &issued.key);
    eventually("the new certificate is shown", || async {
        shown(&connect(&gateway, "localhost").await.unwrap()) != before
    })
    .await;
    assert_eq!(status(&mut old, "localhost").await, 200);
    assert_eq!(ok(&gateway, "gateway").await, Some(1));
}

#[tokio::test]
async fn tls4_a_pair_that_is_wrong_changes_nothing_and_a_metric_says_so() {
    let gateway = GatewayProcess::start().await;
    let names = ["localhost", "127.0.0.1", "api.bank.example"];
    let good = gateway.authority.issue(&names);
    let other = gateway.authority.issue(&names);
    let expired = gateway
        .authority
        .issue_with(&names, |params| params.not_after = date_time_ymd(2026, 12, 31));
    let early = gateway
        .authority
        .issue_with(&names, |params| params.not_before = date_time_ymd(2027, 12, 31));
    let stranger = gateway.authority.issue(&["evil.example"]);
    let narrower = gateway.authority.issue(&["localhost", "127.0.0.1"]);
    let below = gateway.authority.below("intermediate");
    let chained = below.issue(&names);
    let forger = crate::authority::Authority::new("Portico test CA");
    let forged = format!("{}{}", good.chain, forger.pem());
    let wrong = [
        ("another key", good.chain.as_str(), other.key.as_str()),
        ("no key", &good.chain, "nothing"),
        ("no chain", "nothing", &good.key),
        ("expired", &expired.chain, &expired.key),
        ("not yet", &early.chain, &early.key),
        ("another host", &stranger.chain, &stranger.key),
        ("a host less", &narrower.chain, &narrower.key),
        (
            "out of order",
            &format!("{}{}{}", chained.chain, gateway.authority.pem(), below.pem()),
            &chained.key,
        ),
        ("a chain that does not hold", &forged, &good.key),
    ];
    for (what, chain, key) in wrong {
        let before = shown(&connect(&gateway, "localhost").await.unwrap());
        replace(&gateway, "gateway", chain, key);
        eventually(&format!("{what} is reported"), || async {
            ok(&gateway, "gateway").await == Some(0)
        })
        .await;
        assert_eq!(
            before,
            shown(&connect(&gateway, "localhost").await.unwrap()),
            "{what}"
        );
        let mended = gateway.authority.issue(&names);
        replace(&gateway, "gateway", &mended.chain, &mended.key);
        eventually("a good pair mends it", || async {
            ok(&gateway, "gateway").await == Some(1)
                && mended.der().0[0] == shown(&connect(&gateway, "localhost").await.unwrap())
        })
        .await;
    }
}

#[tokio::test]
async fn tls4_swaps_under_load_fail_no_handshake() {
    let gateway = Arc::new(GatewayProcess::start().await);
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut load = Vec::new();
    for _ in 0..4 {
        let (gateway, stop, served) = (gateway.clone(), stop.clone(), served.clone());
        load.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let mut stream = connect(&gateway, "localhost").await.unwrap();
                assert_eq!(status(&mut stream, "localhost").await, 200);
                served.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for _ in 0..5 {
        let issued = gateway
            .authority
            .issue(&["localhost", "127.0.0.1", "api.bank.example"]);
        replace(&gateway, "gateway", &issued.chain, &issued.key);
        eventually("the swap", || async {
            issued.der().0[0] == shown(&connect(&gateway, "localhost").await.unwrap())
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in load {
        client.await.unwrap();
    }
    assert!(served.load(Ordering::Relaxed) > 20, "the load was no load");
}

#[tokio::test]
async fn tls5_when_a_certificate_ends_is_a_metric() {
    let gateway = GatewayProcess::start().await;
    let ends = async || {
        gateway
            .metric(r#"portico_certificate_expires_timestamp_seconds{certificate="gateway"}"#)
            .await
            .unwrap()
    };
    let issued = gateway
        .authority
        .issue_with(&["localhost", "127.0.0.1", "api.bank.example"], |params| {
            params.not_after = date_time_ymd(2027, 2, 1);
        });
    replace(&gateway, "gateway", &issued.chain, &issued.key);
    eventually("the end is told", || async { ends().await == 1_801_440_000 }).await;
    // It ends while it is in force: it is told, and stays, for there is none better.
    gateway.clock.advance(TimeDelta::days(30));
    assert_eq!(ok(&gateway, "gateway").await, Some(1));
}

/// How often this was said of the certificate of the gateway.
fn told(log: &Log, message: &str) -> usize {
    let text = log.text();
    let lines = text.lines().filter(|line| {
        line.contains(message)
            && line.contains(r#""certificate":"gateway""#)
            && line.contains("2027-02-10T00:00:00")
    });
    lines.count()
}

#[tokio::test]
async fn tls5_the_end_of_a_certificate_is_told_in_time_once_a_step_and_of_each_anew() {
    let log = Log::capture();
    let gateway = GatewayProcess::start().await;
    let ending = || {
        gateway.authority.issue_with(&CERTIFICATE_NAMES, |params| {
            params.not_after = date_time_ymd(2027, 2, 10);
        })
    };
    let put = async |issued: Issued| {
        replace(&gateway, "gateway", &issued.chain, &issued.key);
        eventually("it is shown", || async {
            shown(&connect(&gateway, "localhost").await.unwrap()) == issued.der().0[0]
        })
        .await;
    };
    let (soon, over) = ("the certificate expires soon", "the certificate has expired");
    let staple = gateway.directory.path().join("tls/gateway.ocsp");
    let ok = r#"portico_certificate_staple_ok{certificate="gateway"}"#;
    // It is the 15th of January, 8 o'clock.
    put(ending()).await;
    assert_eq!(told(log, soon), 0);
    let mut warnings = 0;
    for days in [5, 14, 6] {
        gateway.clock.advance(TimeDelta::days(days));
        warnings += 1;
        eventually("it is told", || async { told(log, soon) == warnings }).await;
        // Two more looks say nothing new.
        std::fs::write(&staple, "no answer").unwrap();
        eventually("it is looked at", || async {
            gateway.metric(ok).await == Some(0)
        })
        .await;
        std::fs::remove_file(&staple).unwrap();
        eventually("it is looked at again", || async {
            gateway.metric(ok).await.is_none()
        })
        .await;
        assert_eq!(told(log, soon), warnings);
    }
    // Another one in its place, which ends at the same time, is told of by itself.
    put(ending()).await;
    warnings += 1;
    eventually("the new one is told of", || async { told(log, soon) == warnings }).await;
    assert_eq!(told(log, over), 0);
    gateway.clock.advance(TimeDelta::days(2));
    eventually("it is over", || async { told(log, over) == 1 }).await;
    assert_eq!(told(log, soon), warnings);
}

/// Keeps what a gateway shows beside its certificate.
#[derive(Debug, Default)]
struct Stapled(Mutex<Vec<u8>>);

impl ServerCertVerifier for Stapled {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.0.lock().unwrap() = ocsp_response.to_owned();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

async fn stapled(gateway: &GatewayProcess) -> Vec<u8> {
    let verifier = Arc::new(Stapled::default());
    let mut config = gateway.tls_config();
    config.dangerous().set_certificate_verifier(verifier.clone());
    connect_with(gateway, Arc::new(config), "localhost")
        .await
        .unwrap();
    verifier.0.lock().unwrap().clone()
}

/// The byte behind these.
fn behind<'b>(bytes: &'b mut [u8], these: &[u8]) -> &'b mut u8 {
    let mut windows = bytes.windows(these.len());
    let place = windows.position(|window| window == these).unwrap();
    &mut bytes[place + these.len()]
}

#[tokio::test]
async fn tls9_what_the_authority_says_is_shown_as_long_as_it_holds_and_helps() {
    let gateway = GatewayProcess::start().await;
    let names = ["localhost", "127.0.0.1", "api.bank.example"];
    let issued = gateway.authority.issue_with(&names, |params| {
        params.serial_number = Some(77_u64.into());
    });
    replace(&gateway, "gateway", &issued.chain, &issued.key);
    let file = gateway.directory.path().join("tls/gateway.ocsp");
    let say = |bytes: &[u8]| std::fs::write(&file, bytes).unwrap();
    let metric = async |name: &str| {
        let line = format!(r#"portico_certificate_staple_{name}{{certificate="gateway"}}"#);
        gateway.metric(&line).await
    };
    let (since, until) = ("20260101000000Z", "20270201000000Z");
    let good = staple(77, 0x80, since, Some(until));
    let mut longer = good.clone();
    longer.push(0);
    let (mut refused, mut unheard) = (good.clone(), good.clone());
    // The status of the answer, `successful`, and the last number of its kind.
    *behind(&mut refused, &[0x0a, 1]) = 3;
    *behind(&mut unheard, &[0x2b, 6, 1, 5, 5, 7, 0x30, 1]) = 2;
    for (what, wrong) in [
        ("another certificate", staple(78, 0x80, since, Some(until))),
        ("revoked", staple(77, 0xa1, since, Some(until))),
        ("unknown", staple(77, 0x82, since, Some(until))),
        ("over", staple(77, 0x80, since, Some("20260102000000Z"))),
        ("not yet", staple(77, 0x80, until, Some("20280201000000Z"))),
        ("without an end", staple(77, 0x80, since, None)),
        ("longer than it says", longer),
        ("no answer", vec![0x30, 3, 10, 1, 3]),
        ("no answer, and one", refused),
        ("another kind", unheard),
        ("no DER", b"-----BEGIN".to_vec()),
        ("cut short", good[..good.len() - 1].to_vec()),
    ] {
        say(&good);
        eventually("it is shown", || async { stapled(&gateway).await == good }).await;
        assert_eq!(metric("ok").await, Some(1), "{what}");
        assert_eq!(metric("ends_timestamp_seconds").await, Some(1_801_440_000));
        say(&wrong);
        eventually(what, || async { stapled(&gateway).await.is_empty() }).await;
        assert_eq!(metric("ok").await, Some(0), "{what}");
        assert_eq!(ok(&gateway, "gateway").await, Some(1), "{what}: the pair is good");
    }
    say(&good);
    eventually("it is shown", || async { stapled(&gateway).await == good }).await;
    gateway.clock.advance(TimeDelta::days(60));
    eventually("it is over", || async { stapled(&gateway).await.is_empty() }).await;
    std::fs::remove_file(&file).unwrap();
    eventually("nothing is expected", || async { metric("ok").await.is_none() }).await;
}
