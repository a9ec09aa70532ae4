//! The control plane's key endpoint, as a script; and the tokens that its keys sign.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::get;
use keyring::{Algorithm, KeySet, KeyState, SigningKey};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::gateway_process::now;

pub(crate) struct KeyService {
    pub(crate) key: SigningKey,
    path: PathBuf,
    set: Arc<watch::Sender<KeySet>>,
    polls: Arc<AtomicUsize>,
    runtime: Option<Runtime>,
}

/// Claims that are good at [`now`], with these members replaced; `null` takes one away.
pub(crate) fn claims(changes: &Value) -> Value {
    let now = now().timestamp();
    let mut claims = json!({
        "iss": "https://api.bank.example", "aud": "core-api", "sub": "usr_alice", "sid": "ses_1", "tid": "ten_1",
        "jti": "jti_1", "iat": now - 60, "exp": now + 540, "scope": "accounts:read transfers:write",
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

impl KeyService {
    pub(crate) fn start(path: &Path) -> Self {
        let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
        let set = KeySet {
            seq: 1,
            keys: vec![key.public_key(KeyState::Active)],
            revoked_kids: Vec::new(),
        };
        let set = Arc::new(watch::Sender::new(set));
        let polls = Arc::default();
        let runtime = Some(listen(path, &set, &polls));
        Self {
            key,
            path: path.to_owned(),
            set,
            polls,
            runtime,
        }
    }

    /// A good token.
    pub(crate) fn token(&self) -> String {
        self.token_with(&json!({}))
    }

    /// A token with some claims changed.
    pub(crate) fn token_with(&self, changes: &Value) -> String {
        self.key.sign(&claims(changes)).unwrap()
    }

    /// Publishes another set; `seq` is set to the next number.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut KeySet)) {
        self.set.send_modify(|set| {
            change(set);
            set.seq += 1;
        });
    }

    pub(crate) fn seq(&self) -> u64 {
        self.set.borrow().seq
    }

    /// How often the gateway has asked.
    pub(crate) fn polls(&self) -> usize {
        self.polls.load(Ordering::Relaxed)
    }

    /// Loses all numbers, as a restore from a backup would; what is published counts from 1 again.
    pub(crate) fn forget(&self) {
        self.set.send_modify(|set| set.seq = 1);
    }

    /// The control plane is gone.
    pub(crate) fn kill(&mut self) {
        self.runtime
            .take()
            .expect("the control plane runs")
            .shutdown_background();
        std::fs::remove_file(&self.path).unwrap();
    }

    pub(crate) fn revive(&mut self) {
        self.runtime = Some(listen(&self.path, &self.set, &self.polls));
    }
}

impl Drop for KeyService {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn listen(path: &Path, set: &Arc<watch::Sender<KeySet>>, polls: &Arc<AtomicUsize>) -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let context = runtime.enter();
    let listener = UnixListener::bind(path).unwrap();
    let router = Router::new()
        .route("/internal/keyset", get(answer))
        .with_state((set.clone(), polls.clone()));
    runtime.spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    drop(context);
    runtime
}

async fn answer(
    State((set, polls)): State<(Arc<watch::Sender<KeySet>>, Arc<AtomicUsize>)>,
    RawQuery(query): RawQuery,
) -> Response {
    polls.fetch_add(1, Ordering::Relaxed);
    let query = query.unwrap_or_default();
    let number = |name: &str| {
        query
            .split('&')
            .find_map(|part| part.strip_prefix(name)?.parse::<u64>().ok())
            .expect("a long poll")
    };
    let (after, wait) = (number("after="), number("wait_s="));
    let mut changes = set.subscribe();
    // One that was restored from a backup is behind its gateways, and tells them what it knows.
    let newer = changes.wait_for(|set| set.seq != after);
    match tokio::time::timeout(Duration::from_secs(wait), newer).await {
        Ok(Ok(set)) => Response::new(Body::from(serde_json::to_vec(&*set).unwrap())),
        _ => Response::builder().status(204).body(Body::empty()).unwrap(),
    }
}
