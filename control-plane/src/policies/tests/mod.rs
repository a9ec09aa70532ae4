//! The slice through its router, on a real database of its own, with gateways that the tests play.

mod approvals;
mod going_out;
mod harm;
mod interrupted;
mod taking_back;
mod tampered;
mod versions;

use axum::Router;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleet::{
    Envelope, LATENCY_BOUNDS_US, Phase, Rules, Signature, Statement, Trust, TrustedKey, to_be_signed,
};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use keyring::{Algorithm, SigningKey};
use policy::audit::AuditSeverity;
use serde_json::{Value, json};
use service_runtime::settings::WrappingKey;
use service_runtime::shutdown::Shutdown;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Executor as _, PgPool, Row as _};
use test_support::TestDatabase;
use tower::ServiceExt as _;

use super::drive::once;
use super::{PolicySettings, store};
use crate::FleetSettings;
use crate::settings::Settings;
use crate::signing_keys;
use crate::state::AppState;

/// A small bundle; what follows `limit:` makes one differ from another.
pub(super) fn bundle(limit: &str) -> String {
    format!(
        r#"version: 1
listeners:
  public:
    https: {{ bind: "127.0.0.1:8443", tls: {{ min: "1.2", certificate: gateway }} }}
hosts: [api.bank.example]
upstreams:
  core: {{ address: "unix:core.sock", authorization: strip, timeouts: {{ connect: 1s, read: 2s, total: 4s }} }}
headers:
  api:
    set: {{ X-Content-Type-Options: nosniff }}
    remove: [Server]
floor:
  limits: {{ head: 16KiB, headers: 64, target: 4KiB, body: 64KiB }}
  timeouts: {{ head: 1s, body: 2s }}
  headers: api
  rate:
    per-address: {{ limit: {limit}, burst: 100, key: [address] }}
routes:
  live:
    match: {{ method: GET, path: /health/live }}
    auth: none
    because: load balancers ask
    serve: live
  health:
    match: {{ method: GET, path: /health }}
    auth: none
    because: load balancers ask
    upstream: core
"#
    )
}

/// Routes beside those of [`bundle`]: anybody may call them, which is a risk.
pub(super) const OPEN_ROUTE: &str = "  rates:\n    match: { method: GET, path: /rates }\n    auth: none\n    because: everyone may know\n    upstream: core\n";

const OVERLAY: &str = "version: 1\nenvironment: test\n";
const CASES: &str = "version: 1\ntests:\n  live-is-open:\n    environment: all\n    request: { method: GET, path: /health/live }\n    expect: { decision: permit, serve: live }\n";

/// A control plane on a database of its own, with a fleet and a root that trusts its keys.
pub(super) struct Plane {
    _database: TestDatabase,
    pub(super) owner: PgPool,
    pub(super) state: AppState,
    settings: Settings,
    pub(super) approvers: tempfile::TempDir,
    pub(super) grace: SigningKey,
    /// May be an author.
    pub(super) ada: SigningKey,
    root: SigningKey,
}

impl Plane {
    /// Watches no phase for long, and wants nobody's consent.
    pub(super) async fn start() -> Self {
        Self::with(|_| ()).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut PolicySettings)) -> Self {
        let (database, root) = (TestDatabase::create().await, key());
        let (approvers, grace, ada) = (tempfile::tempdir().unwrap(), key(), key());
        let file = approvers.path().join("approvers.yaml");
        let entry = |name: &str, key: &SigningKey| {
            format!(
                "[{{name: {name}, public: {}}}]\n",
                URL_SAFE_NO_PAD.encode(key.public())
            )
        };
        let people = format!(
            "approvers: {}authors: {}",
            entry("grace", &grace),
            entry("ada", &ada)
        );
        std::fs::write(&file, people).unwrap();
        let mut policies = PolicySettings {
            approvers: Some(file),
            approval_from: None,
            audit_fail_on: AuditSeverity::Critical,
            rules: Rules {
                bake_s: 0,
                evidence_s: 0,
                ..Rules::default()
            },
            ..PolicySettings::default()
        };
        change(&mut policies);
        let settings = settings(&root, policies);
        let state = state(&settings, &database);
        signing_keys::complete(&state).await;
        let plane = Self {
            owner: database.owner_pool(),
            _database: database,
            state,
            settings,
            approvers,
            grace,
            ada,
            root,
        };
        plane.trust(1).await;
        plane
    }

    /// Another control plane on the same database.
    pub(super) fn twin(&self) -> AppState {
        state(&self.settings, &self._database)
    }

    /// The root signs a document that names the keys that sign and will sign.
    pub(super) async fn trust(&self, version: u64) {
        let rows = self
            .owner
            .fetch_all("SELECT public_key FROM control.signing_key WHERE ring = 'bundle' AND state IN ('published', 'active')")
            .await
            .unwrap();
        let now = self
            .number("SELECT extract(epoch FROM clock_timestamp())::bigint")
            .await;
        let named = |row: &PgRow| TrustedKey::new(&row.get::<Vec<u8>, _>(0), now - 86_400, now + 30 * 86_400);
        let trust = Trust {
            version,
            fleet: "bank".to_owned(),
            created_at: now,
            keys: rows.iter().map(named).collect(),
        };
        let envelope = signed(Trust::PAYLOAD_TYPE, &trust, &self.root);
        let request = Request::post("/internal/trust")
            .body(Body::from(envelope))
            .unwrap();
        let (status, body) = send(router(&self.state), request).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }

    pub(super) async fn call(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .header("x-operator", "ada")
            .body(Body::from(body.to_string()))
            .unwrap();
        send(router(&self.state), request).await
    }

    /// Publishes, and expects that it begins.
    pub(super) async fn publish(&self, change: Value) -> Value {
        let (status, body) = self.call("POST", "/internal/policies", change).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    /// The first policy, in force for all: position 1.1.
    pub(super) async fn first(&self) {
        self.publish(publication("first", &bundle("100/min"), &["all"]))
            .await;
        for _ in 0..2 {
            self.heal().await;
            self.step().await;
        }
        assert_eq!(self.status().await["in_force"], "1.1");
    }

    pub(super) async fn step(&self) {
        once(&self.state).await.unwrap();
    }

    pub(super) async fn status(&self) -> Value {
        let (status, body) = self.call("GET", "/internal/policies/status", Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    pub(super) async fn phase(&self) -> String {
        self.status().await["rollout"]["phase"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// A gateway lives, has served this, and has in memory what it said last that it has.
    pub(super) async fn beat(&self, node: &str, boot_id: &str, traffic: [u64; 3]) {
        let mut said = heartbeat(boot_id, traffic, &Value::Null);
        said["active"] = self.active(node).await;
        self.say(node, "/fleet/v1/heartbeats", said).await;
    }

    /// What a heartbeat says of the memory of a gateway.
    pub(super) async fn active(&self, node: &str) -> Value {
        let sql = format!(
            "SELECT active_epoch || '.' || active_seq AS position, active_digest FROM control.node_stream
              WHERE node = '{node}' AND stream = 'policy' AND active_seq IS NOT NULL"
        );
        let row = self
            .owner
            .fetch_optional(sqlx::raw_sql(AssertSqlSafe(sql)))
            .await
            .unwrap();
        let active = row.map(|row| {
            let digest = fleet::Digest::from(<[u8; 32]>::try_from(row.get::<Vec<u8>, _>(1)).unwrap());
            json!({"stream": "policy", "position": row.get::<String, _>(0), "digest": digest, "fingerprint": "its"})
        });
        active.into_iter().collect()
    }

    pub(super) async fn say(&self, node: &str, path: &str, body: Value) {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("x-node", node)
            .body(Body::from(body.to_string()))
            .unwrap();
        let (status, body) = send(router(&self.state), request).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
    }

    /// These gateways join, with nothing served.
    pub(super) async fn join(&self, nodes: &[&str]) {
        for node in nodes {
            self.beat(node, "boot-1", [0, 0, 0]).await;
        }
    }

    /// A gateway says how far it is with what it was told last.
    pub(super) async fn acknowledge(&self, node: &str, stage: &str) {
        let row = self
            .row(&format!(
                "SELECT epoch, seq, digest, assigned_shadow FROM control.node_stream
                   JOIN control.statement ON statement.stream = 'policy' AND (epoch, seq) = (assigned_epoch, assigned_seq)
                  WHERE node = '{node}' AND node_stream.stream = 'policy'"
            ))
            .await;
        let (epoch, seq, digest): (i64, i64, Vec<u8>) = (row.get(0), row.get(1), row.get(2));
        let digest = fleet::Digest::from(<[u8; 32]>::try_from(digest).unwrap());
        let mut said = json!({
            "stream": "policy", "position": format!("{epoch}.{seq}"), "digest": digest, "shadow": row.get::<bool, _>(3),
            "stage": stage,
        });
        if stage == "refused" {
            said["objection"] =
                json!({"code": "compile", "path": null, "message": "routes.yaml:3:1: unknown key"});
        }
        self.say(node, "/fleet/v1/acknowledgements", said).await;
    }

    /// Every gateway that was given something says that it is healthy.
    pub(super) async fn heal(&self) {
        for node in self.told(|_| true).await {
            self.acknowledge(&node.0, "healthy").await;
        }
    }

    /// Which gateways were told something of their own: name and position, with `~` when it is only to be tried.
    pub(super) async fn told(&self, wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
        let rows = self
            .owner
            .fetch_all(
                "SELECT node, assigned_epoch || '.' || assigned_seq || CASE WHEN assigned_shadow THEN '~' ELSE '' END
                   FROM control.node_stream WHERE stream = 'policy' AND assigned_seq IS NOT NULL ORDER BY node",
            )
            .await
            .unwrap();
        let told = rows.iter().map(|row| (row.get(0), row.get::<String, _>(1)));
        told.filter(|(_, at)| wanted(at)).collect()
    }

    pub(super) async fn run(&self, sql: &str) {
        self.owner
            .execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
            .await
            .unwrap();
    }

    pub(super) async fn row(&self, sql: &str) -> PgRow {
        self.owner
            .fetch_one(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
            .await
            .unwrap()
    }

    pub(super) async fn number(&self, sql: &str) -> i64 {
        self.row(sql).await.get(0)
    }

    /// The envelope of the policy at a position of the first epoch.
    pub(super) async fn envelope(&self, seq: i64) -> Vec<u8> {
        let mut conn = self.state.db.acquire().await.unwrap();
        store::envelope(&mut conn, (1, seq)).await.unwrap().unwrap()
    }

    /// The digest of the content that was stated at a position, as approvals name it.
    pub(super) async fn content(&self, seq: i64) -> String {
        let envelope = self.envelope(seq).await;
        let statement: Statement =
            serde_json::from_slice(&Envelope::parse(&envelope).unwrap().payload).unwrap();
        let content: fleet::PolicyContent = serde_json::from_str(statement.content.get()).unwrap();
        content.digest().to_string()
    }
}

fn settings(root: &SigningKey, policies: PolicySettings) -> Settings {
    Settings {
        kek: WrappingKey::from(vec![7; 32]),
        fleet: Some(FleetSettings {
            name: "bank".to_owned(),
            environment: "test".to_owned(),
            roots: vec![TrustedKey::new(root.public(), 0, 0).public],
            root_threshold: 1,
            statement_validity_s: 86_400,
            listen: None,
            certificate: None,
            key: None,
            client_ca: None,
        }),
        policies,
        ..Settings::default()
    }
}

fn state(settings: &Settings, database: &TestDatabase) -> AppState {
    AppState::new(settings, database.pool_as("portico_control"), Shutdown::new()).unwrap()
}

pub(super) fn key() -> SigningKey {
    SigningKey::generate(Algorithm::EdDSA).unwrap()
}

/// An envelope that a key has signed.
pub(super) fn signed(payload_type: &str, document: &impl serde::Serialize, key: &SigningKey) -> Vec<u8> {
    let payload = serde_json::to_vec(document).unwrap();
    let signature = Signature {
        keyid: key.kid().to_owned(),
        sig: key.sign_bytes(&to_be_signed(payload_type, &payload)).unwrap(),
    };
    Envelope {
        payload_type: payload_type.to_owned(),
        payload,
        signatures: vec![signature],
    }
    .to_bytes()
}

/// A bundle to publish, by ada.
pub(super) fn publication(change_id: &str, text: &str, phases: &[&str]) -> Value {
    json!({
        "change_id": change_id, "environment": "test", "author": "ada", "phases": phases,
        "files": [{"name": "bank.yaml", "text": text}, {"name": "environments/test.yaml", "text": OVERLAY}],
        "cases": [{"name": "tests/live.yaml", "text": CASES}],
    })
}

/// `traffic`: requests, failures and refusals since the start.
pub(super) fn heartbeat(boot_id: &str, [requests, failures, denied]: [u64; 3], shadow: &Value) -> Value {
    let mut latency = vec![0; LATENCY_BOUNDS_US.len() + 1];
    latency[3] = requests;
    json!({
        "version": "0.1.0", "boot_id": boot_id, "clock_unix_ms": 1_800_000_000_000_i64, "active": [],
        "traffic": {"requests": requests, "failures": failures, "denied": denied, "latency": latency}, "shadow": shadow,
    })
}

fn router(state: &AppState) -> Router {
    service_runtime::http::layers(crate::router::router(state.clone()), "control-plane")
}

async fn send(router: Router, request: Request<Body>) -> (StatusCode, Value) {
    let response = router.oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

#[test]
fn every_phase_of_the_database_is_one_of_the_rule() {
    let migration = include_str!("../../../../migrations/0014_rollouts.sql");
    for phase in Phase::ALL {
        assert!(migration.contains(&format!("'{phase}'")), "{phase}");
    }
}
