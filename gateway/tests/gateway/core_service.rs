//! The service behind the gateway, as a script: it records what it gets and answers what a test says.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::ListenerExt as _;
use http::{HeaderMap, Method, StatusCode};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, Semaphore};

/// The answer to a target with `size=<bytes>` in its query: that many bytes, none like its neighbours.
pub(crate) fn long_body(size: usize) -> Vec<u8> {
    (0..size)
        .map(|index| u8::try_from(index % 251).unwrap())
        .collect()
}

/// One request as the core saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// The only value of a header; `None` when there is none. More than one is a failure.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().unwrap());
        assert!(values.next().is_none(), "{name} came twice");
        value
    }
}

#[derive(Default)]
struct Script {
    seen: Mutex<Vec<Seen>>,
    answers: Mutex<VecDeque<StatusCode>>,
    /// When set, requests wait here until the test lets them go.
    gate: Mutex<Option<Arc<Semaphore>>>,
    arrived: Notify,
    connections: AtomicUsize,
}

pub(crate) struct CoreService {
    path: PathBuf,
    script: Arc<Script>,
    /// A runtime of its own, so that killing it closes every connection in the middle, as `kill -9` does.
    runtime: Option<Runtime>,
}

impl CoreService {
    pub(crate) fn start(path: &Path) -> Self {
        let script = Arc::new(Script::default());
        let runtime = Some(listen(path, &script));
        Self {
            path: path.to_owned(),
            script,
            runtime,
        }
    }

    /// Answers the next request with this status; without a script it is 200.
    pub(crate) fn answer_next(&self, status: u16) {
        self.script
            .answers
            .lock()
            .unwrap()
            .push_back(StatusCode::from_u16(status).unwrap());
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.seen.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().expect("the core saw a request")
    }

    /// From now on requests are held; the permits of the semaphore let them go.
    pub(crate) fn hold(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.script.gate.lock().unwrap() = Some(gate.clone());
        gate
    }

    /// How many connections the gateway has opened.
    pub(crate) fn connections(&self) -> usize {
        self.script.connections.load(Ordering::Relaxed)
    }

    /// Waits until a request has arrived (and may be held).
    pub(crate) async fn arrival(&self) {
        self.script.arrived.notified().await;
    }

    /// Kills the service: open connections end, the socket refuses.
    pub(crate) fn kill(&mut self) {
        self.runtime.take().expect("the core runs").shutdown_background();
        std::fs::remove_file(&self.path).unwrap();
    }

    pub(crate) fn revive(&mut self) {
        self.runtime = Some(listen(&self.path, &self.script));
    }
}

impl Drop for CoreService {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn listen(path: &Path, script: &Arc<Script>) -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let context = runtime.enter();
    let counter = script.clone();
    let listener = UnixListener::bind(path).unwrap().tap_io(move |_| {
        counter.connections.fetch_add(1, Ordering::Relaxed);
    });
    let router = Router::new().fallback(answer).with_state(script.clone());
    runtime.spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    drop(context);
    runtime
}

async fn answer(State(script): State<Arc<Script>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, 1024 * 1024).await else {
        return Response::builder().status(400).body(Body::empty()).unwrap();
    };
    let size = head
        .uri
        .query()
        .and_then(|query| query.strip_prefix("size=")?.parse().ok());
    script.seen.lock().unwrap().push(Seen {
        method: head.method,
        target: head.uri.to_string(),
        headers: head.headers,
        body: body.to_vec(),
    });
    script.arrived.notify_one();
    let gate = script.gate.lock().unwrap().clone();
    if let Some(gate) = gate {
        gate.acquire().await.unwrap().forget();
    }
    let status = script
        .answers
        .lock()
        .unwrap()
        .pop_front()
        .unwrap_or(StatusCode::OK);
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("server", "core/1.0")
        .header("x-powered-by", "axum")
        .header("access-control-allow-origin", "*")
        .body(size.map_or_else(
            || Body::from(r#"{"from":"core"}"#),
            |size| Body::from(long_body(size)),
        ))
        .unwrap()
}
