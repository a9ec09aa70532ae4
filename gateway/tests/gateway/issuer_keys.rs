//! Keys that the gateway fetches from where another issuer publishes them (J35 to J40), over real HTTPS.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use chrono::TimeDelta;
use futures::future::join_all;
use gateway::Settings;
use gateway::server::{self, Running};
use reqwest::Client;
use serde_json::{Value, json};
use service_runtime::clock::Clock;
use service_runtime::settings::Environment;
use service_runtime::shutdown::Shutdown;
use tempfile::TempDir;

use crate::gateway_process::{eventually, now, write_certificates};
use crate::issuer_service::{IssuerService, Script};
use crate::platform::{Provider, foreign_claims, jwks};

/// A gateway whose only provider publishes its keys at an [`IssuerService`].
struct Edge {
    issuer: IssuerService,
    clock: Clock,
    https: SocketAddr,
    private: SocketAddr,
    client: Client,
    shutdown: Shutdown,
    folder: TempDir,
    running: Option<Running>,
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

const NEAR: &str = ", addresses: [127.0.0.0/8, \"::1\"]";

impl Edge {
    async fn start(script: Script) -> Self {
        Self::with(script, "1s", NEAR, true).await
    }

    /// `addresses` and what comes before it, as written in the policy; the gateway trusts the issuer's CA or another one.
    async fn with(script: Script, refresh: &str, addresses: &str, is_trusted: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let issuer = IssuerService::start(&folder.path().join("issuer"), script).await;
        for name in ["policies", "tls"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let ca = write_certificates(&folder.path().join("tls"));
        let trusted = if is_trusted { &issuer.ca } else { &ca };
        std::fs::write(folder.path().join("trust.pem"), trusted).unwrap();
        let port = issuer.address.port();
        let policy = format!(
            r#"
version: 1
listeners: {{ public: {{ https: {{ bind: "0.0.0.0:443", tls: {{ min: "1.3", certificate: gateway }} }} }} }}
hosts: [orders.example]
identity:
  clients:
    issuer: https://idp.example
    audiences: [orders-api]
    algorithms: [EdDSA, ES256]
    type: at+jwt
    max_lifetime: 12h
    leeway: 30s
    keys: {{ url: "https://localhost:{port}/keys?all=1", refresh: {refresh}, stale_for: 1h{addresses} }}
headers: {{ api: {{ set: {{ X-Content-Type-Options: nosniff }}, remove: [Server] }} }}
floor:
  limits: {{ head: 16KiB, headers: 64, target: 8KiB, body: 256KiB }}
  timeouts: {{ head: 5s, body: 15s }}
  rate: {{ per-address: {{ limit: 100000/min, burst: 100000, key: [address] }} }}
  headers: api
routes:
  orders: {{ match: {{ method: GET, path: /orders }}, auth: clients, scopes: [], serve: live }}
"#
        );
        std::fs::write(folder.path().join("policies/policy.yaml"), policy).unwrap();
        let clock = Clock::manual(now());
        let (running, shutdown) = launch(folder.path(), &clock).await;
        let https = running.addresses()["public.https"];
        let client = Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(ca.as_bytes()).unwrap()])
            .resolve("orders.example", https)
            .timeout(Duration::from_secs(15))
            .build()
            .unwrap();
        Self {
            issuer,
            clock,
            https,
            private: running.private_address(),
            client,
            shutdown,
            folder,
            running: Some(running),
        }
    }

    async fn restart(&mut self) {
        self.shutdown.trigger();
        self.running.take().unwrap().stopped().await;
        let (running, shutdown) = launch(self.folder.path(), &self.clock).await;
        self.https = running.addresses()["public.https"];
        self.private = running.private_address();
        self.client = Client::builder()
            .danger_accept_invalid_certs(true)
            .resolve("orders.example", self.https)
            .build()
            .unwrap();
        (self.running, self.shutdown) = (Some(running), shutdown);
    }

    async fn ask(&self, token: &str) -> u16 {
        let url = format!("https://orders.example:{}/orders", self.https.port());
        let answer = self.client.get(url).bearer_auth(token).send().await.unwrap();
        let status = answer.status().as_u16();
        assert_eq!(
            answer.headers().contains_key("retry-after"),
            status == 503,
            "{status}"
        );
        status
    }

    async fn asks_until(&self, token: &str, status: u16) {
        eventually(&format!("the answer is {status}"), || async {
            self.ask(token).await == status
        })
        .await;
    }

    async fn private(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.private);
        self.client.get(url).send().await.unwrap().text().await.unwrap()
    }

    /// Why the gateway has no keys.
    async fn missing(&self) -> String {
        let report: Value = serde_json::from_str(&self.private("/health/ready").await).unwrap();
        report["checks"]["keys"].as_str().unwrap_or_default().to_owned()
    }
}

async fn launch(folder: &Path, clock: &Clock) -> (Running, Shutdown) {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let settings = Settings {
        policies_dir: folder.join("policies"),
        state_dir: folder.join("state"),
        certificate_dir: folder.join("tls"),
        key_trust_file: folder.join("trust.pem"),
        listen: BTreeMap::from([("public.https".to_owned(), any)]),
        private_listen: any,
        threads: 1,
        ..Settings::default()
    };
    let shutdown = Shutdown::new();
    let running = server::start(
        &settings,
        Environment::Production,
        clock.clone(),
        shutdown.clone(),
    )
    .await
    .unwrap();
    (running, shutdown)
}

fn good(keys: &[&Provider]) -> Script {
    Script::Keys(jwks(keys))
}

#[tokio::test]
async fn j35_keys_come_from_where_their_issuer_publishes_them() {
    let idp = Provider::p256("2026-11");
    let edge = Edge::start(good(&[&idp])).await;
    let token = idp.token("orders:read");
    edge.asks_until(&token, 200).await;
    assert_eq!(edge.missing().await, "ok");
    let head = edge.issuer.last_head();
    assert!(head.starts_with("GET /keys?all=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: localhost:{}\r\n", edge.issuer.address.port())));
    assert!(!head.to_ascii_lowercase().contains("authorization"), "{head}");
    assert_eq!(
        edge.ask(&Provider::p256("2026-11").token("")).await,
        401,
        "another key of this name"
    );
}

#[tokio::test]
async fn j15_j16_j17_j35_j40_what_is_no_good_answer_opens_nothing_and_is_told() {
    let idp = Provider::ed25519("2026-11");
    let token = idp.token("");
    let keys = jwks(&[&idp]);
    let mut leaking = idp.jwk();
    leaking["d"] = json!("AAAA");
    let json = "content-type: application/json";
    let elsewhere = "content-type: application/json\r\nlocation: https://evil.example/keys";
    let huge = format!("{}{}", keys, " ".repeat(64 * 1024));
    let endless = format!("HTTP/1.1 200 OK\r\nx-filler: {}\r\n", "x".repeat(40_000));
    let mut cut =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n".to_vec();
    cut.extend_from_slice(keys.as_bytes());
    let cases = [
        ("500", Script::answer("500 Oh", json, &keys)),
        ("302", Script::answer("302 Found", elsewhere, &keys)),
        (
            "no JSON",
            Script::answer("200 OK", "content-type: text/html", &keys),
        ),
        ("64 KiB", Script::answer("200 OK", json, &huge)),
        ("no key of the set", Script::Keys("{\"keys\":[]}".to_owned())),
        ("the kid 2026-11", good(&[&idp, &idp])),
        (
            "private part",
            Script::Keys(json!({ "keys": [leaking] }).to_string()),
        ),
        ("cannot be read", Script::Keys("null".to_owned())),
        ("2 s", Script::Silence),
        ("", Script::Bytes(endless.into_bytes())),
        ("reading", Script::Bytes(cut)),
    ];
    let check = |(reason, script): (&'static str, Script)| {
        let token = &token;
        async move {
            let edge = Edge::start(script).await;
            eventually(&format!("the fault is known: {reason}"), || async {
                let missing = edge.missing().await;
                missing.contains(reason) && !missing.ends_with("not fetched yet")
            })
            .await;
            assert_eq!(edge.ask(token).await, 503, "{reason}");
            let metric = format!(
                "portico_key_url_ok{{url=\"https://localhost:{}/keys?all=1\"}} 0",
                edge.issuer.address.port()
            );
            assert!(edge.private("/metrics").await.contains(&metric), "{reason}");
        }
    };
    join_all(cases.map(check)).await;
}

#[tokio::test]
async fn j35_an_issuer_that_is_not_public_or_not_trusted_is_not_asked() {
    let idp = Provider::ed25519("2026-11");
    let token = idp.token("");
    for (addresses, is_trusted, reason) in [
        ("", true, "not public"),
        (", addresses: [10.0.0.0/24]", true, "not public"),
        (NEAR, false, "TLS"),
    ] {
        let edge = Edge::with(good(&[&idp]), "1s", addresses, is_trusted).await;
        eventually("the fault is known", || async {
            edge.missing().await.contains(reason)
        })
        .await;
        assert_eq!(edge.ask(&token).await, 503, "{reason}");
        assert_eq!(edge.issuer.fetches(), 0, "{reason}");
        assert_eq!(edge.issuer.connections() > 0, !is_trusted, "{reason}");
    }
}

#[tokio::test]
async fn j36_j39_a_rotation_is_noticed_and_refuses_no_token() {
    let (old, new) = (Provider::ed25519("2026-11"), Provider::p256("2026-12"));
    let edge = Edge::start(good(&[&old])).await;
    edge.asks_until(&old.token(""), 200).await;

    // As RFC-minded issuers do it: published first, used later.
    let before = edge.issuer.fetches();
    edge.issuer.answer(good(&[&old, &new]));
    eventually("it was fetched again", || async {
        edge.issuer.fetches() > before + 1
    })
    .await;
    assert_eq!(edge.ask(&new.token("")).await, 200);
    assert_eq!(edge.ask(&old.token("")).await, 200);

    edge.issuer.answer(good(&[&new]));
    edge.asks_until(&old.token(""), 401).await;
    assert_eq!(edge.ask(&new.token("")).await, 200);
}

#[tokio::test]
async fn j37_an_unannounced_key_is_fetched_without_a_single_401() {
    let (old, new) = (Provider::ed25519("2026-11"), Provider::p256("2026-12"));
    let edge = Edge::with(good(&[&old]), "5min", NEAR, true).await;
    edge.asks_until(&old.token(""), 200).await;
    edge.issuer.answer(good(&[&old, &new]));
    edge.clock.advance(TimeDelta::seconds(31));
    let fresh = new.token("");
    eventually("the new key is good", || async {
        let status = edge.ask(&fresh).await;
        assert_ne!(status, 401, "the key may be new");
        status == 200
    })
    .await;
    assert_eq!(edge.issuer.fetches(), 2);
}

#[tokio::test]
async fn j37_a_flood_of_unknown_keys_is_one_fetch() {
    let idp = Provider::ed25519("2026-11");
    let edge = Edge::with(good(&[&idp]), "5min", NEAR, true).await;
    edge.asks_until(&idp.token(""), 200).await;
    let strangers: Vec<String> = (0..200)
        .map(|number| Provider::ed25519(&format!("stranger-{number}")).token(""))
        .collect();
    // Just fetched: nothing is asked again.
    assert_eq!(edge.ask(&strangers[0]).await, 401);
    assert_eq!(edge.issuer.fetches(), 1);

    edge.clock.advance(TimeDelta::seconds(31));
    let answers = join_all(strangers.iter().map(|token| edge.ask(token))).await;
    assert!(
        answers.iter().all(|status| matches!(status, 401 | 503)),
        "{answers:?}"
    );
    eventually("the flood is over", || async {
        edge.ask(&strangers[1]).await == 401
    })
    .await;
    for token in &strangers {
        assert_eq!(edge.ask(token).await, 401);
    }
    assert_eq!(edge.issuer.fetches(), 2);
    assert_eq!(edge.ask(&idp.token("")).await, 200);

    // Later again one, not by those that were asked for in vain.
    edge.clock.advance(TimeDelta::seconds(31));
    for token in strangers.iter().take(20) {
        assert_eq!(edge.ask(token).await, 401);
    }
    assert_eq!(edge.issuer.fetches(), 2);
}

#[tokio::test]
async fn j38_an_issuer_that_is_away_closes_its_routes_late_with_503_and_opens_them_by_itself() {
    let idp = Provider::ed25519("2026-11");
    let edge = Edge::start(good(&[&idp])).await;
    let mut claims = foreign_claims("");
    claims["exp"] = json!(now().timestamp() + 40_000);
    let token = idp.sign(&claims);
    edge.asks_until(&token, 200).await;

    edge.issuer
        .answer(Script::answer("500 Oh", "content-type: application/json", "{}"));
    let port = edge.issuer.address.port();
    let failed = format!("portico_key_url_ok{{url=\"https://localhost:{port}/keys?all=1\"}} 0");
    eventually("the failure is told", || async {
        edge.private("/metrics").await.contains(&failed)
    })
    .await;
    edge.clock.advance(TimeDelta::minutes(59));
    assert_eq!(edge.ask(&token).await, 200, "stale, and good for an hour");
    assert_eq!(
        edge.ask(&Provider::ed25519("other").token("")).await,
        503,
        "nobody knows whether this key is new"
    );
    edge.clock.advance(TimeDelta::minutes(2));
    assert_eq!(edge.ask(&token).await, 503);
    assert!(edge.missing().await.contains("the answer is 500"));

    edge.issuer.answer(good(&[&idp]));
    edge.asks_until(&token, 200).await;
}

#[tokio::test]
async fn j38_the_last_good_set_outlives_a_restart_with_its_age() {
    let idp = Provider::ed25519("2026-11");
    let mut edge = Edge::start(good(&[&idp])).await;
    let mut claims = foreign_claims("");
    claims["exp"] = json!(now().timestamp() + 40_000);
    let token = idp.sign(&claims);
    edge.asks_until(&token, 200).await;

    edge.issuer.answer(Script::Silence);
    edge.clock.advance(TimeDelta::minutes(50));
    edge.restart().await;
    assert_eq!(edge.ask(&token).await, 200);
    edge.clock.advance(TimeDelta::minutes(11));
    assert_eq!(edge.ask(&token).await, 503, "a restart makes no keys younger");
    edge.restart().await;
    assert_eq!(edge.ask(&token).await, 503);
}
