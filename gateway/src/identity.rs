//! What one request is called: its id, its trace, and what puts both on every log line of it.

use http::{HeaderMap, HeaderName};
use opentelemetry::trace::{Status, TraceContextExt as _};
use service_runtime::http::{RequestId, TraceContext};
use service_runtime::telemetry::{self, RequestNames};
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
/// The draft of W3C Trace Context level 2: the trace, and our own call in it.
pub(crate) const TRACE_RESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// The names of one request.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Its id, and our own call in the trace: the parent of what the upstream does.
    pub(crate) names: RequestNames,
    /// Whether the trace is one that the client sent.
    pub(crate) is_continued: bool,
    /// For the exporter of traces; nothing without one.
    span: Span,
}

impl Identity {
    /// Takes over a well-formed `X-Request-ID` (AD-8) and `traceparent` (AD-9) of any client, and makes what is missing.
    /// They are names, not proofs: nothing is decided by them (ADR 0043).
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        Self::new(
            text(REQUEST_ID).and_then(RequestId::parse),
            text(TRACE_PARENT).and_then(TraceContext::parse),
        )
    }

    /// For a request whose head cannot be trusted.
    pub(crate) fn unknown() -> Self {
        Self::new(None, None)
    }

    fn new(request_id: Option<RequestId>, caller: Option<TraceContext>) -> Self {
        let request_id = request_id.unwrap_or_default();
        let span = if telemetry::exports_traces() {
            exported_span(&request_id, caller.as_ref())
        } else {
            Span::none()
        };
        let call = exported_call(&span)
            .or_else(|| caller.as_ref().map(TraceContext::child))
            .unwrap_or_default();
        Self {
            names: RequestNames::new(request_id, &call),
            is_continued: caller.is_some(),
            span,
        }
    }

    /// The id of the request.
    pub(crate) fn request_id(&self) -> &str {
        self.names.request_id()
    }

    /// Runs a part of the request; lines that it writes carry both ids.
    pub(crate) async fn scope<F: Future>(self, part: F) -> F::Output {
        self.names.scope(part.instrument(self.span)).await
    }

    /// The same for what does not wait.
    pub(crate) fn in_scope<T>(&self, part: impl FnOnce() -> T) -> T {
        self.names.in_scope(|| self.span.in_scope(part))
    }

    /// The same for a line that says both ids itself; the exporter of traces takes it along.
    pub(crate) fn in_span<T>(&self, part: impl FnOnce() -> T) -> T {
        self.span.in_scope(part)
    }

    /// Names the span once the route and the status are known.
    pub(crate) fn finish(&self, name: impl FnOnce() -> String, is_failure: bool) {
        if self.span.is_none() {
            return;
        }
        // Its id has been told to the upstream: the span has begun, and takes a name only from OpenTelemetry itself.
        let context = self.span.context();
        context.span().update_name(name());
        if is_failure {
            context
                .span()
                .set_status(Status::error("the gateway or its upstream failed"));
        }
    }
}

fn exported_span(request_id: &RequestId, caller: Option<&TraceContext>) -> Span {
    // At the highest level, so that the filter for lines does not drop it.
    let span = tracing::error_span!(
        parent: None,
        "request",
        request_id = request_id.as_str(),
        otel.name = "request",
        otel.kind = "server",
    );
    if let Some(caller) = caller {
        let parent = opentelemetry::Context::new().with_remote_span_context(caller.to_span_context());
        // `Err` only says that no OpenTelemetry layer is installed.
        drop(span.set_parent(parent));
    }
    span
}

/// The span as OpenTelemetry knows it; `None` when no endpoint is set.
fn exported_call(span: &Span) -> Option<TraceContext> {
    if span.is_none() {
        return None;
    }
    let context = span.context();
    let span = context.span();
    let call = span.span_context();
    let traceparent = || {
        format!(
            "00-{}-{}-{:02x}",
            call.trace_id(),
            call.span_id(),
            call.trace_flags().to_u8()
        )
    };
    call.is_valid()
        .then(traceparent)
        .and_then(|text| TraceContext::parse(&text))
}
