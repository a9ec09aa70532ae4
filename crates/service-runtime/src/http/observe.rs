//! One middleware around each request: id, trace, span, log line, metrics, and the last form of every problem.

use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use http::{HeaderName, HeaderValue, header};
use opentelemetry::trace::TraceContextExt as _;
use problem::{Problem, catalogue};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{RequestId, TraceContext};
use crate::metrics;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

struct Red {
    requests: IntCounterVec,
    seconds: HistogramVec,
}

static RED: LazyLock<Option<Red>> = LazyLock::new(|| register().ok());

fn register() -> prometheus::Result<Red> {
    let requests = IntCounterVec::new(
        Opts::new(
            "portico_service_requests_total",
            "Requests by service, route and status.",
        ),
        &["service", "method", "route", "status"],
    )?;
    let seconds = HistogramVec::new(
        HistogramOpts::new(
            "portico_service_request_seconds",
            "Time from request head to response head.",
        )
        .buckets(metrics::LATENCY_SECONDS.to_vec()),
        &["service", "method", "route"],
    )?;
    metrics::registry().register(Box::new(requests.clone()))?;
    metrics::registry().register(Box::new(seconds.clone()))?;
    Ok(Red { requests, seconds })
}

/// Wraps a router: every request gets an id and a trace, every answer a log line and a count, and a panic or an unknown
/// path becomes a problem document that carries the request id.
pub fn layers(router: Router, service: &'static str) -> Router {
    router
        .fallback(async || Problem::new(catalogue::NOT_FOUND))
        .method_not_allowed_fallback(async || Problem::new(catalogue::METHOD_NOT_ALLOWED))
        .layer(from_fn_with_state(service, observe))
}

async fn observe(State(service): State<&'static str>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = field(&request, &REQUEST_ID)
        .and_then(RequestId::parse)
        .unwrap_or_default();
    let trace = field(&request, &TRACEPARENT)
        .and_then(TraceContext::parse)
        .unwrap_or_default();
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |matched| matched.as_str().to_owned());
    let span = tracing::info_span!(
        "request",
        request_id = id.as_str(),
        trace_id = trace.trace_id(),
        method = method.as_str(),
        route,
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
    );
    // `Err` only says that no OpenTelemetry layer is installed.
    drop(span.set_parent(opentelemetry::Context::new().with_remote_span_context(trace.to_span_context())));
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(trace);

    let answer = AssertUnwindSafe(next.run(request))
        .catch_unwind()
        .instrument(span.clone())
        .await;
    let mut response = answer.unwrap_or_else(|_| {
        span.in_scope(|| tracing::error!("a handler panicked"));
        Problem::new(catalogue::INTERNAL).into_response()
    });
    finish(&mut response, &id);
    let status = response.status();
    record(service, method.as_str(), &route, status.as_u16(), started);
    log(&span, &route, status.as_u16(), started);
    response
}

fn field<'r>(request: &'r Request, name: &HeaderName) -> Option<&'r str> {
    request.headers().get(name)?.to_str().ok()
}

/// Gives the answer its id, and renders its problem, if it is one, again with that id in it.
fn finish(response: &mut Response, id: &RequestId) {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let body = problem.to_json(Some(id.as_str()));
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        *response.body_mut() = Body::from(body);
    }
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
}

fn record(service: &str, method: &str, route: &str, status: u16, started: Instant) {
    if let Some(red) = RED.as_ref() {
        red.requests
            .with_label_values(&[service, method, route, &status.to_string()])
            .inc();
        red.seconds
            .with_label_values(&[service, method, route])
            .observe(started.elapsed().as_secs_f64());
    }
}

fn log(span: &Span, route: &str, status: u16, started: Instant) {
    let duration_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    // Probes and polls come every few seconds and say nothing while they succeed.
    let is_routine = status < 400 && (route.starts_with("/internal/") || route.starts_with("/health"));
    span.in_scope(|| match is_routine {
        true => tracing::debug!(target: "access", status, duration_us, "answered"),
        false => tracing::info!(target: "access", status, duration_us, "answered"),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use serde_json::Value;
    use tower::ServiceExt as _;

    async fn call(path: &str, headers: &[(&str, &str)]) -> (u16, http::HeaderMap, Value) {
        async fn panics() -> &'static str {
            panic!("secret state")
        }
        let router = Router::new()
            .route("/fine", get(async || axum::Json(serde_json::json!({"ok": true}))))
            .route("/panic", get(panics));
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = layers(router, "test")
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            head.status.as_u16(),
            head.headers,
            serde_json::from_slice(&body).unwrap(),
        )
    }

    #[tokio::test]
    async fn a_panic_becomes_a_problem_that_says_nothing_of_it() {
        let (status, headers, body) = call("/panic", &[]).await;
        assert_eq!(status, 500);
        assert_eq!(headers[header::CONTENT_TYPE], problem::CONTENT_TYPE);
        assert!(!body.to_string().contains("secret state"), "{body}");
        let id = headers["x-request-id"].to_str().unwrap();
        assert_eq!(body["instance"], format!("urn:request:{id}"));
    }

    #[tokio::test]
    async fn an_unknown_path_is_a_problem_with_the_callers_request_id() {
        let (status, headers, body) = call("/nowhere", &[("x-request-id", "caller-chose-this")]).await;
        assert_eq!(status, 404);
        assert_eq!(headers["x-request-id"], "caller-chose-this");
        assert_eq!(body["instance"], "urn:request:caller-chose-this");
    }

    #[tokio::test]
    async fn a_good_answer_gets_an_id_and_nothing_else() {
        let (status, headers, body) = call("/fine", &[("x-request-id", "bad id with spaces")]).await;
        assert_eq!((status, body), (200, serde_json::json!({"ok": true})));
        assert_ne!(headers["x-request-id"], "bad id with spaces");
    }
}
