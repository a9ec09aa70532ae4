//! A bank for one test: own database, own keys, the real router. Every answer is checked against the OpenAPI document.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use custody::{Keks, PrivateKey};
use http::{HeaderMap, Method, Request, header};
use http_body_util::BodyExt as _;
use keyring::{Algorithm, Claims, SealedFor, SigningKey};
use serde_json::{Value, json};
use service_runtime::clock::Clock;
use service_runtime::settings::{Providers, Secret, WrappingKey};
use service_runtime::shutdown::Shutdown;
use sqlx::PgPool;
use test_support::TestDatabase;
use tower::ServiceExt as _;

use super::store;
use crate::settings::{PasskeySettings, Settings};

pub(crate) const PASSWORD: &str = "correct horse battery";
const KEK: [u8; 32] = [7; 32];

/// Settings of a test: cheap hashes, everybody active, cash for customers.
pub(crate) fn settings() -> Settings {
    let mut settings = Settings {
        kek: WrappingKey::from(KEK.to_vec()),
        self_service_cash: true,
        auto_activate: true,
        ..Settings::default()
    };
    settings.password.memory_kib = 8;
    settings.password.iterations = 1;
    settings.password.max_parallel = 2;
    settings.password.queue = 256;
    settings.password.max_per_address = 256;
    settings.password.deadline_ms = 30_000;
    settings.password.pepper = Secret::from("pepper of the tests".to_owned());
    settings.second_factor.confirms_after_s = 0;
    settings.passkeys = Some(PasskeySettings {
        rp_id: "bank.example".to_owned(),
        origins: vec!["https://bank.example".to_owned()],
        name: "Bank".to_owned(),
    });
    settings
}

/// The key-encryption key of a test.
pub(crate) fn keks() -> Keks {
    Keks::new((1, &WrappingKey::from(KEK.to_vec())), &[]).unwrap()
}

/// The bank under test.
pub(crate) struct TestBank {
    pub(crate) router: Router,
    /// As superuser, for arranging and for looking behind row-level security.
    pub(crate) owner: PgPool,
    pub(crate) db: Arc<TestDatabase>,
    document: Value,
}

/// Somebody who is logged in.
#[derive(Debug, Clone)]
pub(crate) struct Customer {
    pub(crate) email: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
    pub(crate) json: Value,
}

impl Answer {
    /// The last part of the problem type.
    pub(crate) fn problem(&self) -> &str {
        let kind = self.json["type"].as_str().unwrap_or("no problem");
        kind.rsplit([':', '#']).next().unwrap()
    }

    /// Fails unless this is a problem of that status and type.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, slug: &str) {
        assert_eq!((self.status, self.problem()), (status, slug), "{}", self.json);
        assert_eq!(self.headers[header::CONTENT_TYPE], problem::CONTENT_TYPE);
        let id = self.headers["x-request-id"].to_str().unwrap();
        let replayed = self.headers.contains_key("idempotent-replayed");
        assert!(
            replayed || self.json["instance"] == format!("urn:request:{id}"),
            "{}",
            self.json
        );
    }

    /// Fails unless this is a success of that status.
    #[track_caller]
    pub(crate) fn assert_status(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.bytes));
        self
    }

    /// The pointers and codes of a 422.
    pub(crate) fn faults(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        self.json["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| (text(&e["pointer"]), text(&e["code"])))
            .collect()
    }

    /// A string member.
    #[track_caller]
    pub(crate) fn text(&self, member: &str) -> String {
        self.json[member]
            .as_str()
            .unwrap_or_else(|| panic!("no {member} in {}", self.json))
            .to_owned()
    }

    /// Whether the answer is marked as a repetition.
    pub(crate) fn replayed(&self) -> bool {
        self.headers
            .get("idempotent-replayed")
            .is_some_and(|value| value == "true")
    }
}

/// A request that is being put together.
#[must_use]
pub(crate) struct Call<'b> {
    bank: &'b TestBank,
    request: http::request::Builder,
    method: Method,
    path: String,
    body: Body,
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn by(self, customer: &Customer) -> Self {
        self.bearer(&customer.access)
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.raw("application/json", body.to_string())
    }

    pub(crate) fn raw(mut self, content_type: &str, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    /// Sends it, and checks that the document knows of such an answer.
    pub(crate) async fn send(self) -> Answer {
        let request = self
            .request
            .method(self.method.clone())
            .uri(&self.path)
            .body(self.body)
            .unwrap();
        let response = self.bank.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let answer = Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            bytes,
            json,
        };
        self.bank.assert_documented(&self.method, &self.path, &answer);
        answer
    }
}

impl TestBank {
    /// A bank with an active signing key.
    pub(crate) async fn new() -> Self {
        let bank = Self::with(settings()).await;
        bank.activate_key(&SigningKey::generate(Algorithm::EdDSA).unwrap())
            .await;
        bank
    }

    /// A bank with these settings and no signing key.
    pub(crate) async fn with(settings: Settings) -> Self {
        let db = TestDatabase::create().await;
        let shutdown = Shutdown::new();
        let state = crate::run::state(
            &settings,
            db.pool_as("portico_core").into(),
            Clock::system(),
            &shutdown,
        )
        .unwrap();
        let router = service_runtime::http::layers(crate::router::router(state).unwrap(), "core-api");
        Self {
            router,
            owner: db.owner_pool(),
            db: Arc::new(db),
            document: serde_json::to_value(crate::openapi()).unwrap(),
        }
    }

    /// The same bank, asked through another process.
    pub(crate) fn served_by(&self, router: Router) -> Self {
        Self {
            router,
            owner: self.owner.clone(),
            db: Arc::clone(&self.db),
            document: self.document.clone(),
        }
    }

    /// Makes a key the active one, as the control plane does; the one before it retires.
    pub(crate) async fn activate_key(&self, key: &SigningKey) {
        let document = key.to_pkcs8().unwrap();
        let key = PrivateKey::read(key.algorithm(), &document, &Providers::default()).await;
        self.activate_key_under(&keks(), &key.unwrap()).await;
    }

    /// The same, sealed under version 1 of these key-encryption keys.
    pub(crate) async fn activate_key_under(&self, keks: &Keks, key: &PrivateKey) {
        let row = SealedFor {
            ring: "access",
            kid: key.kid(),
            algorithm: key.algorithm(),
        };
        let sealed = keks.seal(1, row, &key.document().unwrap()).await.unwrap();
        store::activate_key(
            &self.owner,
            key.kid(),
            key.algorithm().as_str(),
            key.public(),
            &sealed,
        )
        .await;
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> Call<'_> {
        Call {
            bank: self,
            request: Request::builder(),
            method,
            path: path.to_owned(),
            body: Body::empty(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Call<'_> {
        self.call(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Call<'_> {
        self.call(Method::POST, path)
    }

    pub(crate) async fn register(&self, email: &str) -> Answer {
        let body = json!({"email": email, "full_name": "Test Person", "password": PASSWORD});
        self.post("/api/v1/auth/register").json(&body).send().await
    }

    pub(crate) async fn login(&self, email: &str, password: &str) -> Answer {
        self.post("/api/v1/auth/login")
            .json(&json!({"email": email, "password": password}))
            .send()
            .await
    }

    /// Registers somebody and logs him in.
    pub(crate) async fn customer(&self, name: &str) -> Customer {
        let email = format!("{name}@example.com");
        self.register(&email).await.assert_status(202);
        let login = self.login(&email, PASSWORD).await;
        login.assert_status(200);
        Customer {
            email,
            access: login.text("access_token"),
            refresh: login.text("refresh_token"),
        }
    }

    /// Opens an account and gives its id.
    pub(crate) async fn account(&self, owner: &Customer, currency: &str) -> String {
        let order = json!({"product": "checking", "currency": currency});
        self.post("/api/v1/accounts")
            .by(owner)
            .json(&order)
            .send()
            .await
            .assert_status(201)
            .text("id")
    }

    /// Opens an account that holds this much.
    pub(crate) async fn funded(&self, owner: &Customer, currency: &str, amount: i64) -> String {
        let account = self.account(owner, currency).await;
        self.deposit(owner, &account, currency, amount, &format!("fund {account}"))
            .await
            .assert_status(201);
        account
    }

    pub(crate) async fn deposit(
        &self,
        caller: &Customer,
        account: &str,
        currency: &str,
        amount: i64,
        key: &str,
    ) -> Answer {
        let order = json!({"amount": amount, "currency": currency});
        let path = format!("/api/v1/accounts/{account}/deposits");
        self.post(&path)
            .by(caller)
            .header("idempotency-key", &format!("\"{key}\""))
            .json(&order)
            .send()
            .await
    }

    pub(crate) async fn transfer(
        &self,
        caller: &Customer,
        from: &str,
        to: &str,
        amount: i64,
        key: &str,
    ) -> Answer {
        let order =
            json!({"from_account_id": from, "to_account_id": to, "amount": amount, "currency": "EUR"});
        self.post("/api/v1/transfers")
            .by(caller)
            .key(key)
            .json(&order)
            .send()
            .await
    }

    /// What an account has posted, as its owner is told.
    pub(crate) async fn posted(&self, owner: &Customer, account: &str) -> i64 {
        let answer = self
            .get(&format!("/api/v1/accounts/{account}"))
            .by(owner)
            .send()
            .await;
        answer.assert_status(200).json["balance"]["posted"]
            .as_i64()
            .unwrap()
    }

    /// Fails unless every invariant holds for every row of the ledger.
    pub(crate) async fn assert_invariants(&self) {
        assert_eq!(store::broken_invariants(&self.owner).await, Vec::<String>::new());
    }

    /// Claims of a valid token of this customer.
    pub(crate) fn claims(&self, customer: &Customer) -> Claims {
        use base64::Engine as _;
        let payload = customer.access.split('.').nth(1).unwrap();
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(payload)
            .unwrap();
        let payload: Value = serde_json::from_slice(&payload).unwrap();
        let text = |name: &str| payload[name].as_str().unwrap().to_owned();
        Claims {
            iss: text("iss"),
            sub: text("sub"),
            aud: vec![text("aud")],
            exp: payload["exp"].as_i64().unwrap(),
            iat: payload["iat"].as_i64().unwrap(),
            nbf: None,
            jti: Some(text("jti")),
            sid: Some(text("sid")),
            tid: Some(text("tid")),
            client_id: None,
            scope: text("scope").split(' ').map(str::to_owned).collect(),
        }
    }

    /// Every answer that a client can get is in the document: status, problem type, and for successes the media type.
    #[track_caller]
    fn assert_documented(&self, method: &Method, path: &str, answer: &Answer) {
        let path = path.split('?').next().unwrap();
        let matches = |template: &str| {
            let (wanted, given): (Vec<_>, Vec<_>) =
                (template.split('/').collect(), path.split('/').collect());
            wanted.len() == given.len()
                && wanted
                    .iter()
                    .zip(&given)
                    .all(|(wanted, given)| wanted.starts_with('{') || wanted == given)
        };
        let paths = self.document["paths"].as_object().unwrap();
        let Some((template, item)) = paths.iter().find(|(template, _)| matches(template)) else {
            return;
        };
        let operation = &item[method.as_str().to_lowercase()];
        if operation.is_null() {
            assert_eq!(answer.status, 405);
            return;
        }
        let response = &operation["responses"][answer.status.to_string()];
        assert!(
            !response.is_null(),
            "{method} {template} does not document {}: {}",
            answer.status,
            answer.json
        );
        if answer.status >= 400 {
            let examples = &response["content"][problem::CONTENT_TYPE]["examples"];
            let slug = if answer.problem() == "quota-exceeded" {
                "rate-limited"
            } else {
                answer.problem()
            };
            assert!(
                !examples[slug].is_null(),
                "{method} {template} does not document {}",
                answer.json
            );
        }
    }
}

/// A moment in the past, for rows that must look old.
pub(crate) fn ago(seconds: i64) -> DateTime<Utc> {
    Clock::system().now() - TimeDelta::seconds(seconds)
}
