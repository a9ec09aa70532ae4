//! The private listener of a service: metrics and health, for operators and never for the public.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
#[expect(
    clippy::disallowed_types,
    reason = "answers only: nothing is read from a body"
)]
use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::health::Readiness;
use crate::metrics;
use crate::secrets::ServiceSecrets;
use crate::shutdown::Shutdown;

/// What a service says of itself at `/status`.
pub type Status = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// Serves `/metrics`, `/health/live`, `/health/ready`, and what may be said of the secrets at `/secrets`. Returns the bound address (port 0 picks one) and the task,
/// which ends when `shutdown` is triggered.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    readiness: Readiness,
    secrets: ServiceSecrets,
    shutdown: Shutdown,
) -> anyhow::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = bind(address).await?;
    let bound = listener.local_addr()?;
    let stop = shutdown.child();
    let shown = get(move || {
        let status = secrets.status();
        async move { Json(status) }
    });
    let router = router(readiness).route("/secrets", shown);
    Ok((bound, serve_on(listener, router, &shutdown, stop)))
}

/// Binds the address of a private listener.
///
/// # Errors
/// When it cannot be bound.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("private listener: cannot bind {address}"))
}

/// Metrics and health.
pub fn router(readiness: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(show_metrics))
        .route(
            "/health/live",
            get(|| async { Json(serde_json::json!({"status": "live"})) }),
        )
        .route("/health/ready", get(show_readiness))
        .with_state(readiness)
}

/// The same, with `/status` beside it.
pub fn router_with_status(readiness: Readiness, status: Status) -> Router {
    let shown = get(move || {
        let status = status();
        async move { Json(status) }
    });
    router(readiness).route("/status", shown)
}

/// Serves a router on a socket that is bound already, until `stop`.
pub fn serve_on(
    listener: TcpListener,
    router: Router,
    shutdown: &Shutdown,
    stop: CancellationToken,
) -> JoinHandle<()> {
    shutdown.spawn(async move {
        let serving =
            axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
        if let Err(error) = serving.await {
            tracing::error!(%error, "the private listener failed");
        }
    })
}

async fn show_metrics() -> Response {
    match metrics::render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => problem::Problem::internal(error).into_response(),
    }
}

async fn show_readiness(State(readiness): State<Readiness>) -> Response {
    let report = readiness.report().await;
    let status = if report.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(report)).into_response()
}
