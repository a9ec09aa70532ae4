//! TLS-8: upstreams over TLS, where each side knows the other or nothing is sent.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use chrono::TimeDelta;
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use reqwest::StatusCode;
use rustls::version;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use super::{RATES, post, retries};
use crate::access_log::Log;
use crate::authority::{Authority, Issued};
use crate::clients::problem;
use crate::gateway_process::{GatewayProcess, POLICY, eventually};
use crate::tls_upstream::{TlsUpstream, met_over, met_with};
use crate::websocket::{KEY, expect};

const NAME: &str = "core.bank.internal";
const GATEWAY: &str = "spiffe://bank.example/gateway";
const TLS: &str = "{ min: \"1.3\", authority: core, server_name: core.bank.internal, certificate: outward }";
const OLD: &str = "    address: unix:core.sock\n    authorization: forward\n    timeouts: { connect: 1s, read: 2s, total: 4s }\n";

/// Who issues to the core, and who to its clients.
struct Authorities {
    core: Authority,
    clients: Authority,
}

impl Authorities {
    fn new() -> Self {
        service_runtime::crypto::install_provider();
        Self {
            core: Authority::new("authority of the core"),
            clients: Authority::new("authority of its clients"),
        }
    }

    /// How the real core is met.
    fn core(&self) -> rustls::ServerConfig {
        met_with(&self.core.issue(&[NAME]), Some(&self.clients))
    }

    fn write(&self, directory: &Path) {
        std::fs::write(directory.join("core.ca.pem"), self.core.pem()).unwrap();
        self.clients
            .issue_to_client(GATEWAY, 1)
            .write(directory, "outward");
    }

    /// A gateway that reaches its core at these addresses.
    async fn gateway(&self, upstreams: &[&TlsUpstream], more: &str) -> GatewayProcess {
        GatewayProcess::with_policy(&policy(upstreams, TLS, more), |directory| self.write(directory)).await
    }
}

fn policy(upstreams: &[&TlsUpstream], tls: &str, more: &str) -> String {
    let addresses: Vec<String> = upstreams
        .iter()
        .map(|upstream| format!("https://{}", upstream.address))
        .collect();
    let also_at = match &addresses[1..] {
        [] => String::new(),
        others => format!("    also_at: [\"{}\"]\n", others.join("\", \"")),
    };
    let core = format!(
        "    address: \"{}\"\n{also_at}    tls: {tls}\n    authorization: forward\n    timeouts: {{ connect: 2s, read: 5s, total: 20s }}\n{more}\n",
        addresses[0]
    );
    assert!(POLICY.contains(OLD));
    POLICY.replace(OLD, &core)
}

fn folder(gateway: &GatewayProcess) -> PathBuf {
    gateway.directory.path().join("tls")
}

async fn failures(gateway: &GatewayProcess, reason: &str) -> i64 {
    let line = format!(r#"portico_upstream_tls_failures_total{{reason="{reason}",upstream="core"}}"#);
    gateway.metric(&line).await.unwrap_or(0)
}

#[tokio::test]
async fn tls8_the_right_service_is_reached_and_knows_the_gateway() {
    let authorities = Authorities::new();
    let core = TlsUpstream::start(authorities.core()).await;
    let gateway = authorities.gateway(&[&core], "").await;
    assert_eq!(gateway.get(RATES).await.text().await.unwrap(), "good");
    assert_eq!(post(&gateway).await.status(), 200);
    assert_eq!(core.last().client.as_deref(), Some(GATEWAY));
    for (metric, name) in [("certificate", "outward"), ("authority", "core")] {
        let label = format!(r#"{{{metric}="{name}"}}"#);
        let ok = gateway
            .metric(&format!("portico_upstream_{metric}_ok{label}"))
            .await;
        let ends = format!("portico_upstream_{metric}_expires_timestamp_seconds{label}");
        assert_eq!(ok, Some(1), "{metric}");
        assert!(gateway.metric(&ends).await.unwrap() > 1_800_000_000, "{metric}");
    }
}

#[tokio::test]
async fn tls8_a_service_that_cannot_show_who_it_is_gets_nothing() {
    let log = Log::capture();
    let authorities = Authorities::new();
    let core = TlsUpstream::start(authorities.core()).await;
    let gateway = authorities.gateway(&[&core], "").await;
    assert_eq!(gateway.get(RATES).await.status(), 200);
    let expired = |params: &mut rcgen::CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let for_clients = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let stranger = Authority::new("a stranger");
    let clients = Some(&authorities.clients);
    let own = |issued: Issued| met_with(&issued, clients);
    let cases = [
        ("unknown_authority", own(stranger.issue(&[NAME]))),
        (
            "another_name",
            own(authorities.core.issue(&["evil.internal", "127.0.0.1"])),
        ),
        ("expired", own(authorities.core.issue_with(&[NAME], expired))),
        (
            "bad_certificate",
            own(authorities.core.issue_with(&[NAME], for_clients)),
        ),
        (
            "version",
            met_over(&[&version::TLS12], &authorities.core.issue(&[NAME]), clients),
        ),
    ];
    let arrived = core.arrived().len();
    for (reason, config) in cases {
        core.become_another(config);
        let answer = gateway.get(RATES).await;
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        problem(answer, 503, "unavailable").await;
        assert_eq!(post(&gateway).await.status(), 503, "{reason}");
        assert_eq!(failures(&gateway, reason).await, 2, "{reason}");
        eventually("the line is there", || async { log.line(&id).is_some() }).await;
        assert_eq!(log.line(&id).unwrap()["reason"], "upstream_tls", "{reason}");
        let told = format!(r#""reason":"{reason}""#);
        assert!(log.text().contains(&told), "{reason} is in no line");
    }
    assert_eq!(core.arrived().len(), arrived, "a request was sent");

    core.become_another(authorities.core());
    assert_eq!(gateway.get(RATES).await.status(), 200);
}

#[tokio::test]
async fn tls8_a_service_that_does_not_know_the_gateway_answers_nothing() {
    let authorities = Authorities::new();
    let stranger = Authority::new("a stranger");
    let met = met_with(&authorities.core.issue(&[NAME]), Some(&stranger));
    let core = TlsUpstream::start(met).await;
    let gateway = authorities.gateway(&[&core], "").await;
    problem(gateway.get(RATES).await, 502, "upstream-unavailable").await;
    assert_eq!(post(&gateway).await.status(), 502);
    assert_eq!(failures(&gateway, "gateway_refused").await, 2);

    // Without any certificate it is refused as well.
    core.become_another(authorities.core());
    assert_eq!(gateway.get(RATES).await.status(), 200);
    let none = TLS.replace(", certificate: outward", "");
    gateway.policy_file("base.yaml", &policy(&[&core], &none, ""));
    let loaded = r#"portico_policy_reloads_total{outcome="loaded"}"#;
    gateway.counts(loaded, 2).await;
    problem(gateway.get(RATES).await, 502, "upstream-unavailable").await;
    assert_eq!(failures(&gateway, "gateway_refused").await, 3);
    assert_eq!(core.arrived().len(), 1);
}

#[tokio::test]
async fn tls8_tls_1_2_is_spoken_where_the_policy_allows_it() {
    let authorities = Authorities::new();
    let met = met_over(
        &[&version::TLS12],
        &authorities.core.issue(&[NAME]),
        Some(&authorities.clients),
    );
    let core = TlsUpstream::start(met).await;
    let tls = TLS.replace("1.3", "1.2");
    let policy = policy(&[&core], &tls, "");
    let gateway = GatewayProcess::with_policy(&policy, |directory| authorities.write(directory)).await;
    assert_eq!(gateway.get(RATES).await.status(), 200);
    assert_eq!(core.last().client.as_deref(), Some(GATEWAY));
}

/// Clients that ask and order without pause, and take nothing but 200.
struct Callers {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Callers {
    fn start(gateway: &Arc<GatewayProcess>) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for caller in 0..4 {
            let (gateway, stop, done) = (gateway.clone(), stop.clone(), done.clone());
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let status = match caller % 2 {
                        0 => gateway.get(RATES).await.status(),
                        _ => post(&gateway).await.status(),
                    };
                    assert_eq!(status, StatusCode::OK);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { stop, done, tasks }
    }

    async fn go_on_and_stop(mut self) {
        let so_far = self.done.load(Ordering::Relaxed);
        eventually("calls go on", || async {
            self.done.load(Ordering::Relaxed) > so_far + 20
        })
        .await;
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

#[tokio::test]
async fn tls8_certificates_and_authorities_change_in_the_middle_of_traffic() {
    const NEXT: &str = "spiffe://bank.example/gateway-2";
    let authorities = Authorities::new();
    let core = Arc::new(TlsUpstream::keeping_connections(authorities.core()).await);
    let gateway = Arc::new(authorities.gateway(&[&core], "").await);
    let log = Log::capture();
    let callers = Callers::start(&gateway);
    let directory = folder(&gateway);
    let comes_as = async |name: &str| {
        let name = name.to_owned();
        eventually(&format!("the gateway comes as {name}"), || async {
            core.arrived()
                .last()
                .is_some_and(|last| last.client.as_deref() == Some(&name))
        })
        .await;
    };
    comes_as(GATEWAY).await;

    // The gateway's own certificate.
    authorities
        .clients
        .issue_to_client(NEXT, 2)
        .write(&directory, "outward");
    comes_as(NEXT).await;

    // The authority of the core: first both, then the new certificate of the core, then the new authority alone.
    let successor = Authority::new("the next authority of the core");
    let file = directory.join("core.ca.pem");
    let taken_over = || log.text().matches("upstream authority").count();
    let connections = || core.arrived().iter().map(|it| it.connection).max();
    let replace = async |authorities: &str| {
        let before = taken_over();
        std::fs::write(&file, authorities).unwrap();
        eventually("the authorities are in force", || async { taken_over() > before }).await;
        let before = connections();
        eventually("a connection is made with them", || async {
            connections() > before
        })
        .await;
    };
    replace(&(authorities.core.pem() + &successor.pem())).await;
    core.become_another(met_with(&successor.issue(&[NAME]), Some(&authorities.clients)));
    replace(&successor.pem()).await;
    callers.go_on_and_stop().await;

    // What comes after the old certificate was last seen in use never comes as the old one again, but for what was on
    // its way; and no connection has had two names.
    let arrived = core.arrived();
    let first_new = arrived
        .iter()
        .position(|it| it.client.as_deref() == Some(NEXT))
        .unwrap();
    let late = arrived[first_new..]
        .iter()
        .filter(|it| it.client.as_deref() == Some(GATEWAY));
    assert!(
        late.count() <= 4,
        "a call for each caller may have been on its way"
    );
    assert_eq!(failures(&gateway, "unknown_authority").await, 0);
}

#[tokio::test]
async fn tls8_two_names_of_the_gateway_never_share_a_connection() {
    let authorities = Authorities::new();
    let core = TlsUpstream::keeping_connections(authorities.core()).await;
    let other = TLS.replace("outward", "second");
    let second = format!(
        "  second:\n    address: \"https://{}\"\n    tls: {other}\n    authorization: forward\n    timeouts: {{ connect: 2s, read: 5s, total: 20s }}\nidentity:\n",
        core.address
    );
    let text = policy(&[&core], TLS, "")
        .replacen("identity:\n", &second, 1)
        .replace(
            "    limits: { body: 1KiB }\n    upstream: core\n",
            "    limits: { body: 1KiB }\n    upstream: second\n",
        );
    let gateway = GatewayProcess::with_policy(&text, |directory| {
        authorities.write(directory);
        let second = authorities
            .clients
            .issue_to_client("spiffe://bank.example/second", 1);
        second.write(directory, "second");
    })
    .await;
    for _ in 0..20 {
        assert_eq!(gateway.get(RATES).await.status(), 200);
        assert_eq!(post(&gateway).await.status(), 200);
    }
    let arrived = core.arrived();
    for it in &arrived {
        let expected = match it.request.starts_with("GET") {
            true => GATEWAY,
            false => "spiffe://bank.example/second",
        };
        assert_eq!(it.client.as_deref(), Some(expected), "{it:?}");
    }
    let connections: std::collections::BTreeSet<_> = arrived.iter().map(|it| it.connection).collect();
    assert!(connections.len() < arrived.len(), "connections are kept");
}

#[tokio::test]
async fn tls8_wrong_files_change_nothing_and_an_end_is_an_end() {
    let authorities = Authorities::new();
    let core = TlsUpstream::start(authorities.core()).await;
    let gateway = authorities.gateway(&[&core], "").await;
    let directory = folder(&gateway);
    let certificate = r#"portico_upstream_certificate_ok{certificate="outward"}"#;
    let authority = r#"portico_upstream_authority_ok{authority="core"}"#;

    // For servers, of another key, expired, and no authority at all.
    authorities
        .core
        .issue(&["gateway.internal"])
        .write(&directory, "outward");
    gateway.counts(certificate, 0).await;
    assert_eq!(gateway.get(RATES).await.status(), 200);
    std::fs::write(
        directory.join("core.ca.pem"),
        authorities.core.issue(&[NAME]).chain,
    )
    .unwrap();
    gateway.counts(authority, 0).await;
    assert_eq!(gateway.get(RATES).await.status(), 200);
    assert_eq!(core.last().client.as_deref(), Some(GATEWAY));

    // Mended, and then over by its own date.
    std::fs::write(directory.join("core.ca.pem"), authorities.core.pem()).unwrap();
    let short = authorities.clients.issue_with(&[], |params| {
        params.subject_alt_names = vec![rcgen::SanType::URI(GATEWAY.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = date_time_ymd(2027, 1, 17);
    });
    short.write(&directory, "outward");
    gateway.counts(certificate, 1).await;
    gateway.counts(authority, 1).await;
    assert_eq!(gateway.get(RATES).await.status(), 200);
    let arrived = core.arrived().len();
    gateway.clock.advance(TimeDelta::days(3));
    eventually("the certificate is over", || async {
        gateway.get(RATES).await.status() == 503
    })
    .await;
    let so_far = core.arrived().len();
    assert_eq!(post_any(&gateway).await, 503);
    assert_eq!(core.arrived().len(), so_far, "nothing is sent with it any more");
    assert!(so_far >= arrived);
}

/// An order that needs no token, for those of a gateway whose clock was moved have ended.
async fn post_any(gateway: &GatewayProcess) -> u16 {
    let login = serde_json::json!({"email": "a@b.example"});
    let url = gateway.url("/api/v1/auth/login");
    let answer = gateway.client().post(url).json(&login).send().await.unwrap();
    answer.status().as_u16()
}

#[tokio::test]
async fn tls8_a_policy_that_names_files_that_are_not_there_is_refused_until_they_come() {
    let authorities = Authorities::new();
    let core = TlsUpstream::start(authorities.core()).await;
    let gateway = authorities.gateway(&[&core], "").await;
    let missing = TLS.replace("authority: core", "authority: nobody");
    gateway.policy_file("base.yaml", &policy(&[&core], &missing, ""));
    gateway
        .counts(r#"portico_policy_reloads_total{outcome="refused"}"#, 1)
        .await;
    assert_eq!(gateway.get(RATES).await.status(), 200);
    // Nobody edits the policy again.
    std::fs::write(folder(&gateway).join("nobody.ca.pem"), authorities.core.pem()).unwrap();
    gateway
        .counts(r#"portico_policy_reloads_total{outcome="loaded"}"#, 2)
        .await;
    gateway
        .counts(r#"portico_policy_reloads_total{outcome="refused"}"#, 1)
        .await;
    assert_eq!(gateway.get(RATES).await.status(), 200);
}

#[tokio::test]
async fn tls8_health_checks_and_retries_go_the_same_way() {
    let authorities = Authorities::new();
    let foreign = met_with(
        &Authority::new("a stranger").issue(&[NAME]),
        Some(&authorities.clients),
    );
    let (bad, good) = (
        TlsUpstream::start(foreign).await,
        TlsUpstream::start(authorities.core()).await,
    );
    let gateway = authorities
        .gateway(&[&bad, &good], "    retries: { most: 1, budget: 50% }")
        .await;
    // Nothing was sent to the first, so an order goes on to the second as well.
    for _ in 0..8 {
        assert_eq!(post(&gateway).await.status(), 200);
    }
    assert!(retries(&gateway, "connect").await > 0);
    assert_eq!(bad.arrived(), []);

    let health = "    health: { path: /health, every: 100ms, timeout: 100ms, failures: 2, successes: 1 }";
    let health = health.replace("every: 100ms, timeout: 100ms", "every: 1s, timeout: 1s");
    gateway.policy_file("base.yaml", &policy(&[&bad, &good], TLS, &health));
    let up = |upstream: &TlsUpstream| {
        format!(
            r#"portico_upstream_up{{address="https://{}",upstream="core"}}"#,
            upstream.address
        )
    };
    gateway.counts(&up(&bad), 0).await;
    gateway.counts(&up(&good), 1).await;
    let asked = |it: &crate::tls_upstream::Arrived| {
        it.request == "GET /health" && it.client.as_deref() == Some(GATEWAY)
    };
    assert!(good.arrived().iter().any(asked));
    bad.become_another(authorities.core());
    gateway.counts(&up(&bad), 1).await;
}

#[tokio::test]
async fn tls8_a_websocket_goes_over_tls_or_not_at_all() {
    let authorities = Authorities::new();
    let core = TlsUpstream::start(authorities.core()).await;
    let route = "routes:\n  follow:\n    match: { method: GET, path: /api/v1/events }\n    auth: none\n    because: prices are for everyone\n    upstream: core\n    websocket: { idle_timeout: 1min, max_frame: 1KiB }\n";
    let text = policy(&[&core], TLS, "").replacen("routes:\n", route, 1);
    let gateway = GatewayProcess::with_policy(&text, |directory| authorities.write(directory)).await;
    let handshake = format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    let mut client = gateway.raw_tls().await;
    client.write_all(handshake.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    expect(&mut client, b"\x81\x08over TLS").await;
    assert_eq!(core.last().client.as_deref(), Some(GATEWAY));

    core.become_another(met_with(&Authority::new("a stranger").issue(&[NAME]), None));
    let mut client = gateway.raw_tls().await;
    client.write_all(handshake.as_bytes()).await.unwrap();
    let mut start = [0; 13];
    client.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 503 ");
    assert_eq!(failures(&gateway, "unknown_authority").await, 1);
}
