//! The slice through its router, on a real database of its own per test.

mod crashes;
mod emergency;
mod gateways;
mod keks;
mod model;
mod providers;
mod publication;
mod reinstatement;
mod rings;
mod schema;
mod transitions;

use std::process::Command;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use chrono::{DateTime, Utc};
use database::DatabaseSettings;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use keyring::{
    Algorithm, Claims, ClaimsForm, Expectations, KeyEncryptionKeys, KeySet, RingName, SealError, SealedFor,
    SealedPrivateKey, SigningKey, TokenAlgorithm, TokenRefusal, Verifier,
};
use serde_json::Value;
use service_runtime::settings::WrappingKey;
use service_runtime::shutdown::Shutdown;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Executor as _, PgPool, Row as _};
use test_support::TestDatabase;
use tower::ServiceExt as _;

use super::keyset::key_set;
use super::retire::maintain_once;
use crate::settings::{RotationSettings, Settings, TokenSettings};
use crate::state::AppState;

const KEK: [u8; 32] = [7; 32];

/// Ends a test that would hang.
const DEADLINE: Duration = Duration::from_secs(20);

fn settings() -> Settings {
    Settings {
        database: DatabaseSettings::default(),
        kek: WrappingKey::from(KEK.to_vec()),
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
}

impl Plane {
    async fn start() -> Self {
        let plane = Self::without_a_ring().await;
        maintain_once(&plane.state, RingName::Access, None).await.unwrap();
        plane
    }

    async fn without_a_ring() -> Self {
        let database = TestDatabase::create().await;
        let state = AppState::new(&settings(), database.pool_as("portico_control"), Shutdown::new()).unwrap();
        Self {
            owner: database.owner_pool(),
            database,
            state,
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
            "reinstated_at",
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
        key_set(&mut self.state.db.acquire().await.unwrap())
            .await
            .unwrap()
    }

    /// Signs as core-api does: with what its own role may read.
    async fn sign(&self) -> (String, Claims) {
        self.sign_with(&[(1, KEK)]).await
    }

    async fn sign_with(&self, keks: &[(i32, [u8; 32])]) -> (String, Claims) {
        let core = self.database.pool_as("portico_core");
        let row: PgRow = core
            .fetch_one(sqlx::raw_sql(
                "SELECT kid, ring, algorithm, kek_version, sealed_private_key, wrapped_data_key, clock_timestamp() AS iat
                   FROM control.active_signing_key WHERE ring = 'access'",
            ))
            .await
            .unwrap();
        let algorithm: Algorithm = row.get::<String, _>("algorithm").parse().unwrap();
        let private = opened(&row, keks).unwrap();
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

    /// The private part of a key, opened.
    async fn private_part(&self, kid: &str) -> Vec<u8> {
        let row = self
            .row(&format!("SELECT * FROM control.signing_key WHERE kid = '{kid}'"))
            .await;
        opened(&row, &[(1, KEK)]).unwrap()
    }

    /// Whether a dump of the database, restored, holds a private part of this key that opens with any key of ours.
    async fn dump_opens(&self, kid: &str) -> bool {
        let superuser: String = self.row("SELECT current_user::text").await.get(0);
        let dump = Command::new("pg_dump")
            .args(["--dbname", &self.database.url_as(&superuser)])
            .output()
            .unwrap();
        let dump = String::from_utf8(dump.stdout).unwrap();
        let line = dump.lines().find(|line| line.starts_with(kid)).unwrap();
        let blobs: Vec<Vec<u8>> = line
            .split('\t')
            .filter_map(|field| bytes(field.strip_prefix("\\\\x")?))
            .collect();
        let keks = KeyEncryptionKeys::parse([(1, KEK.as_slice())]).unwrap();
        let sealed_for = SealedFor {
            ring: "access",
            kid,
            algorithm: Algorithm::EdDSA,
        };
        // Every pair of blobs of the row, in either order: nothing is believed of the columns' names.
        blobs.iter().any(|ciphertext| {
            blobs.iter().any(|wrapped| {
                let sealed = SealedPrivateKey {
                    kek_version: 1,
                    wrapped_data_key: Some(wrapped.clone()),
                    ciphertext: ciphertext.clone(),
                };
                keks.open(sealed_for, &sealed).is_ok()
            })
        })
    }

    async fn verify(&self, token: &str, now: i64) -> Result<Claims, TokenRefusal> {
        let expectations = Expectations {
            issuer: "https://api.bank.example".to_owned(),
            audiences: vec!["core-api".to_owned()],
            clients: Vec::new(),
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

/// Opens the private part of a row as its reader does.
fn opened(row: &PgRow, keks: &[(i32, [u8; 32])]) -> Result<Vec<u8>, SealError> {
    let keks =
        KeyEncryptionKeys::parse(keks.iter().map(|(version, kek)| (*version, kek.as_slice()))).unwrap();
    let (ring, kid): (String, String) = (row.get("ring"), row.get("kid"));
    let sealed_for = SealedFor {
        ring: &ring,
        kid: &kid,
        algorithm: row.get::<String, _>("algorithm").parse().unwrap(),
    };
    let sealed = SealedPrivateKey {
        kek_version: row.get("kek_version"),
        wrapped_data_key: row.get("wrapped_data_key"),
        ciphertext: row.get("sealed_private_key"),
    };
    keks.open(sealed_for, &sealed).map(|private| private.to_vec())
}

/// The bytes that a dump writes in hexadecimal.
fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    let digits: Vec<char> = hexadecimal.chars().collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).ok())
        .collect()
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

impl Plane {
    /// A live gateway that holds the key set of this `seq`, or none.
    async fn gateway(&self, name: &str, held: Option<i64>) {
        self.run(&format!(
            "INSERT INTO control.node (name, last_heartbeat_at) VALUES ('{name}', clock_timestamp() + interval '1 hour')
                 ON CONFLICT (name) DO UPDATE SET last_heartbeat_at = excluded.last_heartbeat_at"
        ))
        .await;
        let Some(held) = held else { return };
        // What is stated has positions of its own: it is stated again when nothing has changed, too.
        let position = held * 2 + 100;
        self.run(&format!(
            "INSERT INTO control.statement (stream, epoch, seq, digest, envelope, change_id, author, expires_at, source_seq)
             VALUES ('keyset', 1, {position}, sha256('{position}'), 'x', 'change', 'test', clock_timestamp() + interval '1 day', {held})
                 ON CONFLICT DO NOTHING;
             INSERT INTO control.node_stream (node, stream, active_epoch, active_seq) VALUES ('{name}', 'keyset', 1, {position})
                 ON CONFLICT (node, stream) DO UPDATE SET active_epoch = 1, active_seq = {position}"
        ))
        .await;
    }

    /// Nothing is heard of a gateway any more.
    async fn gateway_falls_silent(&self, name: &str) {
        self.run(&format!(
            "UPDATE control.node SET last_heartbeat_at = clock_timestamp() - interval '15 seconds' WHERE name = '{name}'"
        ))
        .await;
    }
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
