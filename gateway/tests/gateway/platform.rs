//! A foreign service with an identity provider of its own, put behind the gateway by policy files alone (POL-7): those
//! of `docs/put-your-api-behind-portico.md`, on a gateway that has no control plane.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use gateway::Settings;
use gateway::server::{self, Running};
use http::HeaderMap;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use service_runtime::clock::Clock;
use service_runtime::settings::Environment;
use service_runtime::shutdown::Shutdown;
use tempfile::TempDir;

use crate::authentication::base64url;
use crate::authority::Authority;
use crate::gateway_process::{CERTIFICATE_NAMES, GatewayProcess, eventually, now};
use crate::key_service::claims;

const PAGE: &str = include_str!("../../../docs/put-your-api-behind-portico.md");
const PAGES_UPSTREAM: &str = "127.0.0.1:9000";

/// The policy files of the page, by name.
fn pages_policies() -> BTreeMap<String, String> {
    let files = PAGE.split("cat > policies/").skip(1).map(|rest| {
        let (name, rest) = rest.split_once(" <<'EOF'\n").unwrap();
        let (text, _) = rest.split_once("EOF\n").unwrap();
        (name.to_owned(), text.to_owned())
    });
    let files: BTreeMap<_, _> = files.collect();
    assert_eq!(files.len(), 4, "{files:?}");
    files
}

/// A signing key of the foreign provider, with the name it likes.
enum Signer {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

pub(crate) struct Provider {
    signer: Signer,
    kid: String,
}

impl Provider {
    pub(crate) fn ed25519(kid: &str) -> Self {
        let signer = Signer::Ed25519(Ed25519KeyPair::generate().unwrap());
        Self {
            signer,
            kid: kid.to_owned(),
        }
    }

    pub(crate) fn p256(kid: &str) -> Self {
        let signer = Signer::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
        Self {
            signer,
            kid: kid.to_owned(),
        }
    }

    fn rsa(kid: &str) -> Self {
        let signer = Signer::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
        Self {
            signer,
            kid: kid.to_owned(),
        }
    }

    /// The public part, as providers publish it.
    pub(crate) fn jwk(&self) -> Value {
        match &self.signer {
            Signer::Ed25519(key) => {
                let x = base64url(key.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.kid, "x": x})
            }
            Signer::P256(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = (base64url(&point[1..33]), base64url(&point[33..]));
                json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.kid, "x": x, "y": y})
            }
            Signer::Rsa(key) => {
                // `RSAPublicKey` (RFC 8017 §A.1.1): behind nine bytes the modulus, and at its end the exponent 65537.
                let der = key.public_key().as_ref();
                let n = base64url(&der.strip_suffix(&[0x02, 3, 1, 0, 1]).unwrap()[9..]);
                json!({"kty": "RSA", "use": "sig", "kid": self.kid, "n": n, "e": "AQAB"})
            }
        }
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let alg = match self.signer {
            Signer::Ed25519(_) => "EdDSA",
            Signer::P256(_) => "ES256",
            Signer::Rsa(_) => "RS256",
        };
        let header = json!({"alg": alg, "typ": "at+jwt", "kid": self.kid});
        let parts = [&header, claims].map(|part| base64url(part.to_string().as_bytes()));
        let input = parts.join(".");
        let signature = match &self.signer {
            Signer::Ed25519(key) => key.sign(input.as_bytes()).as_ref().to_vec(),
            Signer::P256(key) => {
                let signature = key.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
                signature.as_ref().to_vec()
            }
            Signer::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    input.as_bytes(),
                    &mut signature,
                )
                .unwrap();
                signature
            }
        };
        format!("{input}.{}", base64url(&signature))
    }

    /// A good token of this provider with these scopes.
    pub(crate) fn token(&self, scope: &str) -> String {
        self.sign(&foreign_claims(scope))
    }
}

pub(crate) fn foreign_claims(scope: &str) -> Value {
    claims(&json!({
        "iss": "https://idp.example", "aud": "orders-api", "sub": "client-7", "sid": null, "tid": null, "scope": scope,
    }))
}

pub(crate) fn jwks(providers: &[&Provider]) -> String {
    let keys: Vec<Value> = providers.iter().map(|provider| provider.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// The foreign service: it answers everything, and keeps the heads of what came.
#[derive(Clone, Default)]
struct Orders(Arc<Mutex<Vec<HeaderMap>>>);

impl Orders {
    async fn listen(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        address
    }

    fn seen(&self) -> Vec<HeaderMap> {
        self.0.lock().unwrap().clone()
    }
}

async fn answer(State(orders): State<Orders>, request: Request) -> impl IntoResponse {
    orders.0.lock().unwrap().push(request.headers().clone());
    (
        [
            ("server", "orders/1"),
            ("x-powered-by", "tea"),
            ("access-control-allow-origin", "*"),
        ],
        "[]",
    )
}

/// The gateway of the page with its folders, in front of the foreign service.
struct Platform {
    folder: TempDir,
    orders: Orders,
    https: SocketAddr,
    private: SocketAddr,
    client: Client,
    shutdown: Shutdown,
    _running: Running,
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

impl Platform {
    async fn start(keys: Option<&str>) -> Self {
        Self::with(keys, |text| text).await
    }

    /// With the policies of the page, changed.
    async fn with(keys: Option<&str>, change: impl Fn(String) -> String) -> Self {
        service_runtime::crypto::install_provider();
        let folder = tempfile::tempdir().unwrap();
        for name in ["policies", "tls", "keys"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let orders = Orders::default();
        let upstream = orders.listen().await.to_string();
        for (name, text) in pages_policies() {
            let text = change(text.replace(PAGES_UPSTREAM, &upstream));
            std::fs::write(folder.path().join("policies").join(name), text).unwrap();
        }
        if let Some(keys) = keys {
            std::fs::write(folder.path().join("keys/idp.jwks.json"), keys).unwrap();
        }
        let authority = Authority::new("Portico test CA");
        authority
            .issue(&CERTIFICATE_NAMES)
            .write(&folder.path().join("tls"), "gateway");
        let ca = authority.pem();
        let settings = settings(folder.path());
        assert_eq!(settings.faults(), Vec::<String>::new());
        let shutdown = Shutdown::new();
        let clock = Clock::manual(now());
        let running = server::start(&settings, Environment::Production, clock, shutdown.clone())
            .await
            .unwrap();
        let https = running.addresses()["public.https"];
        let client = Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(ca.as_bytes()).unwrap()])
            .resolve("orders.example", https)
            .timeout(Duration::from_secs(15))
            .build()
            .unwrap();
        Self {
            orders,
            https,
            private: running.private_address(),
            client,
            shutdown,
            folder,
            _running: running,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("https://orders.example:{}{path}", self.https.port())
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    fn post(&self, token: &str) -> RequestBuilder {
        self.client.post(self.url("/orders")).bearer_auth(token)
    }

    async fn list(&self, token: &str) -> u16 {
        let answer = self.get("/orders").bearer_auth(token).send().await.unwrap();
        answer.status().as_u16()
    }

    fn publish(&self, keys: &str) {
        std::fs::write(self.folder.path().join("keys/idp.jwks.json"), keys).unwrap();
    }

    async fn private(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.private);
        self.client.get(url).send().await.unwrap().text().await.unwrap()
    }
}

fn settings(folder: &Path) -> Settings {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    Settings {
        policies_dir: folder.join("policies"),
        state_dir: folder.join("state"),
        certificate_dir: folder.join("tls"),
        key_dir: folder.join("keys"),
        listen: BTreeMap::from([("public.https".to_owned(), any)]),
        private_listen: any,
        threads: 1,
        policy_poll_ms: 200,
        ..Settings::default()
    }
}

/// What the policy puts on every answer, and what it takes from the service's own.
fn assert_dressed(answer: &Response) {
    let of = answer.status();
    let headers = answer.headers();
    assert_eq!(headers["x-frame-options"], "DENY", "{of}");
    assert_eq!(
        headers["strict-transport-security"], "max-age=63072000; includeSubDomains",
        "{of}"
    );
    assert_eq!(headers["cache-control"], "no-store", "{of}");
    assert!(headers.contains_key("x-request-id"), "{of}");
    for name in ["server", "x-powered-by"] {
        assert!(!headers.contains_key(name), "{of} has {name}");
    }
}

async fn assert_refused(request: RequestBuilder, status: u16, what: &str) -> Response {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), status, "{what}");
    assert_dressed(&answer);
    assert_eq!(
        answer.headers()["content-type"],
        "application/problem+json",
        "{what}"
    );
    answer
}

#[tokio::test]
async fn a_foreign_api_is_protected_by_policy_files_alone() {
    for idp in [
        Provider::ed25519("2026-11"),
        Provider::p256("2026-11"),
        Provider::rsa("xD0JmBjvsXyLLuvLjQz8lwEA6wqn8LfJgiaLSWThPbE="),
    ] {
        let platform = Platform::start(Some(&jwks(&[&idp]))).await;
        let reader = idp.token("orders:read");
        let answer = platform.get("/orders").bearer_auth(&reader).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_dressed(&answer);
        assert!(answer.headers().contains_key("ratelimit"));
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
        let seen = platform.orders.seen().pop().unwrap();
        assert_eq!(seen["x-auth-subject"], "client-7");
        assert_eq!(seen["x-auth-scopes"], "orders:read");
        assert!(!seen.contains_key("authorization"), "the policy strips it");

        let challenge = |answer: &Response| answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
        let anonymous = assert_refused(platform.get("/orders"), 401, "no token").await;
        assert_eq!(challenge(&anonymous), "Bearer");
        let poor = assert_refused(platform.post(&reader).body("{}"), 403, "no scope").await;
        assert!(challenge(&poor).contains("orders:write"));
        assert_refused(platform.get("/admin").bearer_auth(&reader), 404, "no route").await;
        assert_refused(
            platform.client.delete(platform.url("/orders")),
            405,
            "no such method",
        )
        .await;

        let large = platform.post(&idp.token("orders:write")).body("x".repeat(5_000));
        assert_refused(large, 413, "larger than the route takes").await;
        let by_address = platform.client.get(format!("https://{}/orders", platform.https));
        assert_refused(by_address, 421, "another host").await;
        assert_eq!(
            platform.orders.seen().len(),
            1,
            "nothing of this reached the service"
        );
    }
}

#[tokio::test]
async fn limits_count_each_client_of_the_foreign_provider() {
    let idp = Provider::ed25519("2026-11");
    let platform = Platform::start(Some(&jwks(&[&idp]))).await;
    let writer = idp.token("orders:write");
    for _ in 0..4 {
        assert_eq!(
            platform.post(&writer).body("{}").send().await.unwrap().status(),
            200
        );
    }
    let limited = assert_refused(platform.post(&writer).body("{}"), 429, "the fifth at once").await;
    for name in ["retry-after", "ratelimit", "ratelimit-policy"] {
        assert!(limited.headers().contains_key(name), "{name}");
    }
    let mut other = foreign_claims("orders:write");
    other["sub"] = json!("client-8");
    let answer = platform.post(&idp.sign(&other)).body("{}").send().await.unwrap();
    assert_eq!(answer.status(), 200, "another client has a limit of its own");
}

#[tokio::test]
async fn browsers_of_the_named_origin_may_read_also_what_is_refused() {
    let idp = Provider::ed25519("2026-11");
    let platform = Platform::start(Some(&jwks(&[&idp]))).await;
    let preflight = |origin: &str| {
        platform
            .client
            .request(http::Method::OPTIONS, platform.url("/orders"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization")
    };
    let answer = preflight("https://shop.example").send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(
        answer.headers()["access-control-allow-origin"],
        "https://shop.example"
    );
    assert_refused(preflight("https://elsewhere.example"), 403, "another origin").await;
    let request = platform.get("/orders").header("origin", "https://shop.example");
    let refused = assert_refused(request, 401, "no token").await;
    assert_eq!(
        refused.headers()["access-control-allow-origin"],
        "https://shop.example"
    );
    assert_eq!(platform.orders.seen().len(), 0);
}

#[tokio::test]
async fn j40_without_keys_the_routes_of_a_provider_answer_503_and_the_reason_is_told() {
    let idp = Provider::ed25519("2026-11");
    let platform = Platform::start(None).await;
    let token = idp.token("orders:read");
    let answer = assert_refused(platform.get("/orders").bearer_auth(&token), 503, "no keys").await;
    assert!(answer.headers().contains_key("retry-after"));
    assert_refused(platform.get("/health/ready"), 503, "not ready").await;
    let report: Value = serde_json::from_str(&platform.private("/health/ready").await).unwrap();
    let reason = report["checks"]["keys"].as_str().unwrap();
    assert!(
        reason.starts_with("clients: ") && reason.contains("idp.jwks.json"),
        "{reason}"
    );

    // Keys make it ready: no control plane is asked for.
    platform.publish(&jwks(&[&idp]));
    eventually("the gateway is ready", || async {
        platform.get("/health/ready").send().await.unwrap().status() == 200
    })
    .await;
    assert_eq!(platform.list(&token).await, 200);
}

#[tokio::test]
async fn j16_j39_keys_are_replaced_live_and_a_wrong_file_changes_nothing() {
    let (old, new) = (Provider::ed25519("2026-11"), Provider::p256("2026-12"));
    let platform = Platform::start(Some(&jwks(&[&old]))).await;
    assert_eq!(
        platform.list(&new.token("orders:read")).await,
        401,
        "not published yet"
    );

    platform.publish(&jwks(&[&old, &new]));
    eventually("the new key is accepted", || async {
        platform.list(&new.token("orders:read")).await == 200
    })
    .await;
    assert_eq!(platform.list(&old.token("orders:read")).await, 200);

    let good = r#"portico_key_file_ok{file="idp.jwks.json"} 1"#;
    assert!(platform.private("/metrics").await.contains(good));
    platform.publish(&jwks(&[&old, &old]));
    eventually("the fault is reported", || async {
        !platform.private("/metrics").await.contains(good)
    })
    .await;
    assert_eq!(platform.list(&old.token("orders:read")).await, 200);
    assert_eq!(platform.list(&new.token("orders:read")).await, 200);

    platform.publish(&jwks(&[&new]));
    eventually("the old key is gone", || async {
        platform.list(&old.token("orders:read")).await == 401
    })
    .await;
    assert!(platform.private("/metrics").await.contains(good));
}

#[tokio::test]
async fn j31_j32_a_provider_that_writes_scp_and_no_jti_is_understood_where_the_policy_says_so() {
    let provider = Provider::rsa("2026-11");
    let keys = jwks(&[&provider]);
    let token = |changes: Value| {
        let mut claims = foreign_claims("orders:read");
        let members = claims.as_object_mut().unwrap();
        members.remove("jti");
        members.extend(changes.as_object().unwrap().clone());
        provider.sign(&claims)
    };
    let as_list = token(json!({"scp": ["orders:read", "orders:write"]}));
    let as_written = Platform::start(Some(&keys)).await;
    assert_eq!(as_written.list(&as_list).await, 401, "the page asks for a jti");

    let platform = Platform::with(Some(&keys), |text| {
        text.replace(
            "    keys: file:",
            "    scopes_claim: scp\n    require_jti: false\n    keys: file:",
        )
    })
    .await;
    assert_eq!(platform.list(&as_list).await, 200);
    let heads = platform.orders.0.lock().unwrap().clone();
    assert_eq!(heads[0]["x-auth-scopes"], "orders:read orders:write");
    let as_text = token(json!({"scp": "orders:write orders:read"}));
    assert_eq!(platform.list(&as_text).await, 200);
    let of_another = token(json!({"scp": ["orders:write", "orders:reader"]}));
    assert_eq!(platform.list(&of_another).await, 403);
    assert_eq!(
        platform.list(&token(json!({}))).await,
        403,
        "`scope` does not count"
    );
    assert_eq!(platform.list(&token(json!({"scp": [1]}))).await, 401);
}

#[tokio::test]
async fn j33_an_issuer_whose_programs_are_named_is_believed_for_theirs_alone() {
    let provider = Provider::rsa("2026-11");
    let keys = jwks(&[&provider]);
    let platform = Platform::with(Some(&keys), |text| {
        text.replace("    keys: file:", "    clients: [orders-app]\n    keys: file:")
    })
    .await;
    let token = |changes: Value| {
        let mut claims = foreign_claims("orders:read");
        let members = claims.as_object_mut().unwrap();
        members.extend(changes.as_object().unwrap().clone());
        provider.sign(&claims)
    };
    assert_eq!(
        platform.list(&token(json!({"client_id": "orders-app"}))).await,
        200
    );
    assert_eq!(platform.list(&token(json!({"azp": "orders-app"}))).await, 200);
    assert_eq!(platform.list(&token(json!({"client_id": "another"}))).await, 401);
    assert_eq!(platform.list(&token(json!({}))).await, 401);
}

/// The foreign service beside the bank, on one listener: its policy is added to a gateway that runs.
fn beside_the_bank(upstream: SocketAddr) -> String {
    let files = pages_policies();
    let section = |file: &str, from: &str| {
        let (_, rest) = files[file].split_once(from).unwrap();
        format!("{from}{rest}")
    };
    let upstreams = section("gateway.yaml", "upstreams:");
    let upstreams = upstreams.split("\nheaders:").next().unwrap();
    let routes = section("routes.yaml", "routes:");
    let routes = routes.split("\n  ready:").next().unwrap();
    [
        "version: 1",
        &upstreams.replace(PAGES_UPSTREAM, &upstream.to_string()),
        &section("identity.yaml", "identity:"),
        &section("cors.yaml", "cors:"),
        routes,
        "",
    ]
    .join("\n")
}

#[tokio::test]
async fn j28_a_token_of_one_issuer_opens_nothing_of_another_though_they_share_a_kid() {
    let gateway = GatewayProcess::start().await;
    // The foreign provider gives its key the name of the bank's.
    let idp = Provider::ed25519(gateway.keys.key.kid());
    std::fs::write(gateway.directory.path().join("keys/idp.jwks.json"), jwks(&[&idp])).unwrap();
    let orders = Orders::default();
    gateway.policy_file("orders.yaml", &beside_the_bank(orders.listen().await));
    let foreign = idp.token("orders:read transfers:write accounts:read");
    eventually("the foreign service is there, without a restart", || async {
        gateway.get_with("/orders", &foreign).await.status() == 200
    })
    .await;
    assert_eq!(
        gateway
            .get_with("/api/v1/me", &gateway.keys.token())
            .await
            .status(),
        200
    );
    let (at_bank, at_orders) = (gateway.core.seen().len(), orders.seen().len());

    let banks = gateway.keys.token_with(&json!({"scope": "orders:read"}));
    let dressed_up = gateway.keys.key.sign(&foreign_claims("orders:read")).unwrap();
    let in_the_banks_name = idp.sign(&claims(&json!({})));
    for (target, token, what) in [
        ("/orders", banks, "a token of the bank at the foreign service"),
        (
            "/orders",
            dressed_up,
            "one of the bank's key in the foreign issuer's name",
        ),
        ("/api/v1/me", foreign, "a foreign token at the bank"),
        (
            "/api/v1/me",
            in_the_banks_name,
            "a foreign signature in the bank's name",
        ),
    ] {
        assert_eq!(gateway.get_with(target, &token).await.status(), 401, "{what}");
    }
    assert_eq!(
        (gateway.core.seen().len(), orders.seen().len()),
        (at_bank, at_orders)
    );
}

#[tokio::test]
async fn a_policy_that_needs_a_setting_which_is_missing_is_refused_by_its_name() {
    let mut gateway = GatewayProcess::start().await;
    gateway.stop().await;
    let folder = gateway.directory.path();
    let bare = Settings {
        socket_dir: "".into(),
        state_dir: folder.join("fresh-state"),
        listen: BTreeMap::new(),
        ..settings(folder)
    };
    let started = server::start(&bare, Environment::Test, Clock::manual(now()), Shutdown::new()).await;
    let Err(error) = started else { panic!("it starts") };
    let error = format!("{error:#}");
    for line in [
        "identity.customers.keys: needs the setting `fleet`",
        "routes.jwks.serve: needs the setting `fleet`",
        "upstreams.core.address: needs the setting `socket_dir`",
    ] {
        assert!(error.contains(line), "{error}");
    }
}
