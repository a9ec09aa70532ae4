//! The ids of the request at hand, on every line that is written meanwhile: what a span would do, at a tenth of its price.

use http::HeaderValue;

use crate::http::{RequestId, TraceContext};

tokio::task_local! {
    static CURRENT: RequestNames;
}

/// What a request is called, in every line that is written inside [`RequestNames::scope`]. A clone allocates nothing.
#[derive(Debug, Clone)]
pub struct RequestNames {
    request_id: HeaderValue,
    call: HeaderValue,
}

impl RequestNames {
    /// The id of a request, and the call in its trace.
    #[must_use]
    pub fn new(request_id: RequestId, call: &TraceContext) -> Self {
        // Both are made of characters that a field may hold.
        let none = |_| HeaderValue::from_static("-");
        Self {
            request_id: HeaderValue::try_from(String::from(request_id)).unwrap_or_else(none),
            call: HeaderValue::from_bytes(&call.to_bytes()).unwrap_or_else(none),
        }
    }

    /// As `X-Request-Id` says it.
    #[must_use]
    pub const fn request_id_field(&self) -> &HeaderValue {
        &self.request_id
    }

    /// As `traceparent` says it.
    #[must_use]
    pub const fn call_field(&self) -> &HeaderValue {
        &self.call
    }

    /// The id of the request.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }

    /// The trace id as 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        // Behind the version, and before the span.
        let trace = self.call.as_bytes().get(3..35).unwrap_or_default();
        std::str::from_utf8(trace).unwrap_or_default()
    }

    /// Runs a future; its lines carry the ids.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// Runs a function; its lines carry the ids.
    pub fn in_scope<T>(&self, act: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), act)
    }

    /// Looks at the names of the request at hand, if there is one.
    pub(super) fn with_current(look: impl FnOnce(&Self)) {
        // `Err` says that no request is at hand.
        let _ = CURRENT.try_with(look);
    }
}
