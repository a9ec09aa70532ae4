//! The slice through its doors, on a real database of its own per test.

mod denials;
mod doors;
mod pages;
mod publication;
mod reports;
mod streams;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use fleet::{
    Digest, Envelope, Member, Page, Signature, StatedList, Statement, Stream, Trust, TrustedKey, Version,
    to_be_signed,
};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use keyring::{Algorithm, Revocation, RevocationList, SigningKey};
use serde_json::{Value, json};
use service_runtime::settings::WrappingKey;
use service_runtime::shutdown::Shutdown;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Executor as _, PgPool, Row as _};
use test_support::TestDatabase;

use super::FleetSettings;
use crate::settings::Settings;
use crate::signing_keys;
use crate::state::AppState;

/// Ends a test that would hang.
const DEADLINE: Duration = Duration::from_secs(60);

const FLEET: &str = "bank";
const DAY: i64 = 86_400;

/// A control plane on a database of its own, with all rings and an offline root.
struct Plane {
    database: TestDatabase,
    owner: PgPool,
    root: SigningKey,
    state: AppState,
}

fn settings(root: &SigningKey) -> Settings {
    let public = TrustedKey::new(root.public(), 0, 0).public;
    Settings {
        kek: WrappingKey::from(vec![7; 32]),
        fleet: Some(FleetSettings {
            name: FLEET.to_owned(),
            environment: "test".to_owned(),
            roots: vec![public],
            root_threshold: 1,
            statement_validity_s: 86_400,
            listen: None,
            certificate: None,
            key: None,
            client_ca: None,
        }),
        ..Settings::default()
    }
}

impl Plane {
    /// With a trust document that names the keys of the bundle ring.
    async fn start() -> Self {
        let plane = Self::untrusted().await;
        let envelope = plane.trust(1, &plane.bundle_keys().await);
        let (status, body) = plane.hand_over(envelope).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        plane
    }

    async fn untrusted() -> Self {
        let database = TestDatabase::create().await;
        let root = SigningKey::generate(Algorithm::EdDSA).unwrap();
        let state = AppState::new(
            &settings(&root),
            database.pool_as("portico_control"),
            Shutdown::new(),
        )
        .unwrap();
        signing_keys::complete(&state).await;
        Self {
            owner: database.owner_pool(),
            database,
            root,
            state,
        }
    }

    /// Another instance on the same database.
    fn twin(&self) -> AppState {
        AppState::new(
            &settings(&self.root),
            self.database.pool_as("portico_control"),
            Shutdown::new(),
        )
        .unwrap()
    }

    /// Keeps the board up to date, as the process does.
    fn follow(&self) {
        self.state.shutdown.spawn(super::follow(self.state.clone()));
    }

    async fn bundle_keys(&self) -> Vec<Vec<u8>> {
        let rows = self
            .owner
            .fetch_all(
                "SELECT public_key FROM control.signing_key WHERE ring = 'bundle' AND state <> 'retired'",
            )
            .await
            .unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// A trust document that the root has signed.
    fn trust(&self, version: u64, keys: &[Vec<u8>]) -> Vec<u8> {
        signed_trust(&self.root, FLEET, version, keys)
    }

    async fn hand_over(&self, envelope: Vec<u8>) -> (StatusCode, Value) {
        let request = Request::post("/internal/trust")
            .body(Body::from(envelope))
            .unwrap();
        let (status, _, body) = send(self.router(), request).await;
        (status, body)
    }

    fn router(&self) -> Router {
        router(&self.state)
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let (status, _, body) = send(self.router(), request(method, path, None, body)).await;
        (status, body)
    }

    async fn call_as(
        &self,
        node: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let (status, _, body) = send(self.router(), request(method, path, Some(node), body)).await;
        (status, body)
    }

    /// Revokes the token with this name.
    async fn revoke(&self, jti: &str) -> Value {
        let new = json!({"kind": "token", "issuer": "https://a.example", "name": jti, "for_s": 600});
        let (status, body) = self.call("POST", "/internal/revocations", Some(new)).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        body
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

    /// What a gateway gets by this name.
    async fn fetched(&self, digest: Digest) -> (StatusCode, Value) {
        self.call_as("edge-1", "GET", &format!("/fleet/v1/blobs/{digest}"), None)
            .await
    }

    /// A list as a gateway puts it together.
    async fn whole(&self, list: &StatedList) -> RevocationList {
        let mut revocations = Vec::new();
        for name in &list.pages {
            let (status, page) = self.fetched(name.digest).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            let entries: Vec<Revocation> = serde_json::from_value(page).unwrap();
            assert_eq!(Page::of(&entries).unwrap().name, *name);
            revocations.extend(entries);
        }
        revocations.extend(list.revocations.clone());
        let list = RevocationList {
            seq: list.seq,
            revocations,
        };
        list.validate().unwrap();
        list
    }

    /// The newest statement of a stream as a gateway takes it over, from its exact bytes.
    async fn newest(&self, stream: Stream) -> Statement {
        let row = self
            .row(&format!(
                "SELECT envelope, extract(epoch FROM clock_timestamp())::bigint AS now, digest FROM control.statement
                  WHERE stream = '{stream}' ORDER BY epoch DESC, seq DESC LIMIT 1"
            ))
            .await;
        let (envelope, now, digest): (Vec<u8>, i64, Vec<u8>) = (row.get(0), row.get(1), row.get(2));
        assert_eq!(Digest::of(&envelope).as_bytes().as_slice(), digest);
        let (status, trust) = self.call("GET", "/internal/trust", None).await;
        assert_eq!(status, StatusCode::OK, "{trust}");
        let trust: Trust = serde_json::from_value(trust["trust"].clone()).unwrap();
        fleet::admit(&envelope, stream, &trust, &member(), None, now).unwrap()
    }
}

fn member() -> Member<'static> {
    Member {
        fleet: FLEET,
        environment: "test",
        name: "edge-1",
        version: Version(0, 1, 0),
        features: &[StatedList::FEATURE],
    }
}

fn signed_trust(root: &SigningKey, fleet: &str, version: u64, keys: &[Vec<u8>]) -> Vec<u8> {
    signed_trust_for(30 * DAY, root, fleet, version, keys)
}

/// One whose keys may sign for so many seconds.
fn signed_trust_for(seconds: i64, root: &SigningKey, fleet: &str, version: u64, keys: &[Vec<u8>]) -> Vec<u8> {
    let now = service_runtime::clock::Clock::system().now().timestamp();
    let keys = keys
        .iter()
        .map(|key| TrustedKey::new(key, now - DAY, now + seconds));
    let trust = Trust {
        version,
        fleet: fleet.to_owned(),
        created_at: now,
        keys: keys.collect(),
    };
    let payload = serde_json::to_vec(&trust).unwrap();
    let signature = Signature {
        keyid: root.kid().to_owned(),
        sig: root
            .sign_bytes(&to_be_signed(Trust::PAYLOAD_TYPE, &payload))
            .unwrap(),
    };
    let envelope = Envelope {
        payload_type: Trust::PAYLOAD_TYPE.to_owned(),
        payload,
        signatures: vec![signature],
    };
    envelope.to_bytes()
}

fn router(state: &AppState) -> Router {
    service_runtime::http::layers(crate::router::router(state.clone()), "control-plane")
}

fn request(method: &str, path: &str, node: Option<&str>, body: Option<Value>) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("x-operator", "ada");
    if let Some(node) = node {
        request = request.header("x-node", node);
    }
    let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
    request.body(body).unwrap()
}

async fn send(router: Router, request: Request<Body>) -> (StatusCode, HeaderMap, Value) {
    use tower::ServiceExt as _;
    let response = router.oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        head.status,
        head.headers,
        serde_json::from_slice(&body).unwrap_or(Value::Null),
    )
}

/// Asks until the answer is yes.
async fn until(what: &str, mut asked: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !asked().await {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, waiting).await;
    waited.unwrap_or_else(|_| panic!("never: {what}"));
}
