//! What one request is called: its id, its trace, and the span that puts both on every log line of it.

use http::HeaderMap;
use opentelemetry::trace::{Status, TraceContextExt as _};
use service_runtime::http::{RequestId, TraceContext};
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The names of one request.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) request_id: RequestId,
    /// 32 hexadecimal digits.
    pub(crate) trace_id: String,
    /// Our own call in the trace: the parent of what the upstream does.
    pub(crate) call: TraceContext,
    /// Whether the trace is one that the client sent.
    pub(crate) is_continued: bool,
    /// Lines written inside it carry both ids; exported when an OTLP endpoint is set.
    pub(crate) span: Span,
}

impl Identity {
    /// Takes over a well-formed `X-Request-ID` and `traceparent` (AD-9), and makes what is missing.
    ///
    /// Rule AD-8 knew only trusted peers here. EDG-7 wins: the id of any client is echoed, because a client can find
    /// its own request by it, and the allowed form makes it harmless in a header, a line and a URN. It is a name that
    /// clients choose, not a proof: nothing is decided by it.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self::new(
            text("x-request-id").and_then(RequestId::parse),
            text("traceparent").and_then(TraceContext::parse),
        )
    }

    /// For a request whose head cannot be trusted.
    pub(crate) fn unknown() -> Self {
        Self::new(None, None)
    }

    fn new(request_id: Option<RequestId>, caller: Option<TraceContext>) -> Self {
        let request_id = request_id.unwrap_or_default();
        // At the highest level, so that the ids stay on warnings when the filter drops lower levels.
        let span = tracing::error_span!(
            parent: None,
            "request",
            request_id = request_id.as_str(),
            trace_id = Empty,
            otel.name = "request",
            otel.kind = "server",
        );
        if let Some(caller) = &caller {
            let parent = opentelemetry::Context::new().with_remote_span_context(caller.to_span_context());
            // `Err` only says that no OpenTelemetry layer is installed.
            drop(span.set_parent(parent));
        }
        let call = exported_call(&span)
            .or_else(|| caller.as_ref().map(TraceContext::child))
            .unwrap_or_default();
        let trace_id = call.trace_id();
        span.record("trace_id", trace_id.as_str());
        Self {
            request_id,
            trace_id,
            call,
            is_continued: caller.is_some(),
            span,
        }
    }

    /// Names the span once the route and the status are known.
    pub(crate) fn finish(&self, name: &str, is_failure: bool) {
        // Its id has been told to the upstream: the span has begun, and takes a name only from OpenTelemetry itself.
        let context = self.span.context();
        context.span().update_name(name.to_owned());
        if is_failure {
            context
                .span()
                .set_status(Status::error("the gateway or its upstream failed"));
        }
    }
}

/// The span as OpenTelemetry knows it; `None` when no endpoint is set.
fn exported_call(span: &Span) -> Option<TraceContext> {
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
