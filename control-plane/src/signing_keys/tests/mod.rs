//! The slice through its router, on a real database of its own per test.

mod model;
mod publication;
mod schema;
mod transitions;

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use chrono::{DateTime, Utc};
use database::DatabaseSettings;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use keyring::{
    Algorithm, Claims, ClaimsForm, Expectations, KeyEncryptionKey, KeySet, SigningKey, TokenAlgorithm,
    TokenRefusal, Verifier,
};
use serde_json::Value;
use service_runtime::settings::SecretBytes;
use service_runtime::shutdown::Shutdown;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Executor as _, PgPool, Row as _};
use test_support::TestDatabase;
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::ACCESS_RING;
use super::keyset::load;
use super::retire::maintain_once;
use crate::settings::{RotationSettings, Settings, TokenSettings};
use crate::state::AppState;

const KEK: [u8; 32] = [7; 32];

/// Ends a test that would hang.
const DEADLINE: Duration = Duration::from_secs(20);

fn settings() -> Settings {
    Settings {
        database: DatabaseSettings::default(),
        kek: SecretBytes::from(KEK.to_vec()),
        rotation: RotationSettings {
            rollback_window_s: 105,
            ..RotationSettings::default()
        },
        tokens: TokenSettings::default(),
        ..Settings::default()
    }
}

/// A control plane on a database of its own. The ring exists.
struct Plane {
    database: TestDatabase,
    owner: PgPool,
    state: AppState,
    changes: Option<watch::Sender<i64>>,
}

impl Plane {
    async fn start() -> Self {
        let plane = Self::without_a_ring().await;
        maintain_once(&plane.state).await.unwrap();
        plane
    }

    async fn without_a_ring() -> Self {
        let database = TestDatabase::create().await;
        let (state, changes) =
            AppState::new(&settings(), database.pool_as("portico_control"), Shutdown::new()).unwrap();
        Self {
            owner: database.owner_pool(),
            database,
            state,
            changes: Some(changes),
        }
    }

    /// Another instance on the same database.
    fn twin(&self) -> AppState {
        AppState::new(
            &settings(),
            self.database.pool_as("portico_control"),
            Shutdown::new(),
        )
        .unwrap()
        .0
    }

    fn router(&self) -> Router {
        service_runtime::http::layers(crate::router::router(self.state.clone()), "control-plane")
    }

    async fn call(&self, method: &str, path: &str) -> (StatusCode, HeaderMap, Value) {
        call(self.router(), method, path, None).await
    }

    async fn rotate(&self) -> (StatusCode, HeaderMap, Value) {
        self.call("POST", "/internal/keys/rotate").await
    }

    async fn keys(&self) -> Value {
        let (status, _, body) = self.call("GET", "/internal/keys").await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    /// The kid of the only key in this state.
    async fn kid(&self, state: &str) -> String {
        let body = self.keys().await;
        let keys: Vec<_> = body["keys"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|key| key["state"] == state)
            .collect();
        assert_eq!(keys.len(), 1, "{body}");
        keys[0]["kid"].as_str().unwrap().to_owned()
    }

    /// Lets time pass for the ring: everything in it becomes this much older.
    async fn pass(&self, seconds: i64) {
        let by = format!("- {seconds} * interval '1 second'");
        let columns = [
            "created_at",
            "published_at",
            "activated_at",
            "retiring_at",
            "sign_until",
            "verify_until",
            "retired_at",
        ];
        let set: Vec<_> = columns
            .iter()
            .map(|column| format!("{column} = {column} {by}"))
            .collect();
        self.run(&format!("UPDATE control.signing_key SET {}", set.join(", ")))
            .await;
    }

    async fn run(&self, sql: &str) {
        self.owner
            .execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
            .await
            .unwrap();
    }

    async fn row(&self, sql: &str) -> PgRow {
        self.owner
            .fetch_one(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
            .await
            .unwrap()
    }

    async fn number(&self, sql: &str) -> i64 {
        self.row(sql).await.get(0)
    }

    /// Everything of the ring that a rotation may change.
    async fn picture(&self) -> String {
        self.row(
            "SELECT (SELECT string_agg(k::text, E'\\n' ORDER BY kid) FROM control.signing_key k)
                 || (SELECT string_agg(r::text, E'\\n') FROM control.key_ring r)
                 || (SELECT count(*) FROM control.audit_event)",
        )
        .await
        .get(0)
    }

    async fn key_set(&self) -> KeySet {
        load(&mut self.state.db.acquire().await.unwrap()).await.unwrap()
    }

    /// Signs as core-api does: with what its own role may read.
    async fn sign(&self) -> (String, Claims) {
        let core = self.database.pool_as("portico_core");
        let row: PgRow = core
            .fetch_one(sqlx::raw_sql(
                "SELECT kid, algorithm, kek_version, sealed_private_key, clock_timestamp() AS iat
                   FROM control.active_signing_key WHERE ring = 'access'",
            ))
            .await
            .unwrap();
        let algorithm: Algorithm = row.get::<String, _>("algorithm").parse().unwrap();
        let (kid, sealed): (String, Vec<u8>) = (row.get("kid"), row.get("sealed_private_key"));
        let kek = KeyEncryptionKey::from_bytes(KEK);
        let private = keyring::open(
            &kek,
            ACCESS_RING,
            &kid,
            algorithm,
            row.get("kek_version"),
            &sealed,
        )
        .unwrap();
        let iat = row.get::<DateTime<Utc>, _>("iat").timestamp();
        let claims = Claims {
            iss: "https://api.bank.example".to_owned(),
            sub: "usr_1".to_owned(),
            aud: vec!["core-api".to_owned()],
            exp: iat + 600,
            iat,
            nbf: None,
            jti: Some("tok_1".to_owned()),
            sid: None,
            tid: None,
            client_id: None,
            scope: Vec::new(),
        };
        (
            SigningKey::from_pkcs8(algorithm, &private)
                .unwrap()
                .sign(&claims)
                .unwrap(),
            claims,
        )
    }

    async fn verify(&self, token: &str, now: i64) -> Result<Claims, TokenRefusal> {
        let expectations = Expectations {
            issuer: "https://api.bank.example".to_owned(),
            audiences: vec!["core-api".to_owned()],
            algorithms: vec![TokenAlgorithm::EdDSA],
            token_type: "at+jwt".to_owned(),
            max_lifetime_s: 900,
            leeway_s: 30,
            form: ClaimsForm::default(),
        };
        Verifier::new(self.key_set().await)
            .unwrap()
            .verify(token, &expectations, now)
    }
}

async fn call(
    router: Router,
    method: &str,
    path: &str,
    operator: Option<&str>,
) -> (StatusCode, HeaderMap, Value) {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("x-request-id", "request-0001");
    if let Some(name) = operator {
        request = request.header("x-operator", name);
    }
    let response = router
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        head.status,
        head.headers,
        serde_json::from_slice(&body).unwrap_or(Value::Null),
    )
}

fn states(body: &Value) -> Vec<&str> {
    let mut states: Vec<_> = body["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["state"].as_str().unwrap())
        .collect();
    states.sort_unstable();
    states
}

impl Plane {
    /// Waits until a connection of a control plane is as described.
    async fn wait_for(&self, condition: &str) {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity
              WHERE datname = current_database() AND usename = 'portico_control' AND {condition}"
        );
        let start = Instant::now();
        while self.number(&sql).await == 0 {
            assert!(start.elapsed() < DEADLINE, "never: {condition}");
        }
    }
}
