//! The control plane's endpoints for gateways, as a script; and the tokens that its keys sign.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::get;
use keyring::{Algorithm, KeySet, KeyState, Revocation, RevocationList, SigningKey};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::gateway_process::now;

pub(crate) struct KeyService {
    pub(crate) key: SigningKey,
    path: PathBuf,
    set: Arc<watch::Sender<KeySet>>,
    list: Arc<watch::Sender<RevocationList>>,
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
        let list = Arc::new(watch::Sender::new(RevocationList::default()));
        let polls = Arc::default();
        let runtime = Some(listen(path, &set, &list, &polls));
        Self {
            key,
            path: path.to_owned(),
            set,
            list,
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

    /// Publishes another list of what is revoked.
    pub(crate) fn revoke(&self, revocations: Vec<Revocation>) {
        self.list.send_modify(|list| {
            list.revocations = revocations;
            list.seq += 1;
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
        self.runtime = Some(listen(&self.path, &self.set, &self.list, &self.polls));
    }
}

impl Drop for KeyService {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn listen(
    path: &Path,
    set: &Arc<watch::Sender<KeySet>>,
    list: &Arc<watch::Sender<RevocationList>>,
    polls: &Arc<AtomicUsize>,
) -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let context = runtime.enter();
    let listener = UnixListener::bind(path).unwrap();
    let router = Router::new()
        .route("/internal/keyset", get(answer))
        .with_state((set.clone(), polls.clone()))
        .merge(
            Router::new()
                .route("/internal/revocations", get(revoked))
                .with_state(list.clone()),
        );
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
    // One that was restored from a backup is behind its gateways, and tells them what it knows.
    long_poll(&set, query, |set, after| set.seq != after).await
}

async fn revoked(
    State(list): State<Arc<watch::Sender<RevocationList>>>,
    RawQuery(query): RawQuery,
) -> Response {
    long_poll(&list, query, |list, after| list.seq != after).await
}

async fn long_poll<T: serde::Serialize>(
    sender: &watch::Sender<T>,
    query: Option<String>,
    is_news: impl Fn(&T, u64) -> bool,
) -> Response {
    let query = query.unwrap_or_default();
    let number = |name: &str| {
        query
            .split('&')
            .find_map(|part| part.strip_prefix(name)?.parse::<u64>().ok())
            .expect("a long poll")
    };
    let (after, wait) = (number("after="), number("wait_s="));
    let mut changes = sender.subscribe();
    let newer = changes.wait_for(|content| is_news(content, after));
    match tokio::time::timeout(Duration::from_secs(wait), newer).await {
        Ok(Ok(content)) => Response::new(Body::from(serde_json::to_vec(&*content).unwrap())),
        _ => Response::builder().status(204).body(Body::empty()).unwrap(),
    }
}
