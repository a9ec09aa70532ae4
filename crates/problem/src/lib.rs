//! RFC 9457 problem documents: the only error shape that leaves a Portico process.
//!
//! **Invariant:** a cause is logged once and never serialised. [`Problem::internal`] keeps no reference to what it was
//! given, so leaking it is a type error.

#![warn(missing_docs)]

pub mod catalogue;
mod document;
#[cfg(feature = "axum")]
mod response;

pub use document::{FieldError, ProblemDocument};

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

/// The media type of every problem document (RFC 9457 §3).
pub const CONTENT_TYPE: &str = "application/problem+json";

/// One kind of problem: what a client may branch on. A slice defines its own as `const`s beside the code that raises them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemType {
    slug: &'static str,
    uri: Option<&'static str>,
    status: u16,
    title: &'static str,
    says_when: bool,
}

impl ProblemType {
    /// Names a problem type by its slug, HTTP status and fixed title; its URI is `urn:portico:problem:<slug>`.
    #[must_use]
    pub const fn new(slug: &'static str, status: u16, title: &'static str) -> Self {
        Self {
            slug,
            uri: None,
            status,
            title,
            says_when: matches!(status, 429 | 503),
        }
    }

    /// A problem type that somebody else registered, under its own URI (RFC 9457 §4.2).
    #[must_use]
    pub const fn registered(uri: &'static str, slug: &'static str, status: u16, title: &'static str) -> Self {
        Self {
            slug,
            uri: Some(uri),
            status,
            title,
            says_when: matches!(status, 429 | 503),
        }
    }

    /// One whose occurrences say when to come back (`Retry-After`); 429 and 503 do by themselves.
    #[must_use]
    pub const fn with_retry_after(mut self) -> Self {
        self.says_when = true;
        self
    }

    /// Whether an occurrence may say when to come back.
    #[must_use]
    pub const fn says_when(&self) -> bool {
        self.says_when
    }

    /// The short name: the last part of the URI, used in logs and documentation.
    #[must_use]
    pub const fn slug(&self) -> &'static str {
        self.slug
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The title, the same in every occurrence.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        self.title
    }

    /// The identifying URI, `type` in the document.
    #[must_use]
    pub fn uri(&self) -> Cow<'static, str> {
        self.uri.map_or_else(
            || Cow::Owned(format!("urn:portico:problem:{}", self.slug)),
            Cow::Borrowed,
        )
    }
}

/// One occurrence of a problem: what a client is told, and nothing else.
#[derive(Debug, Clone)]
pub struct Problem {
    kind: ProblemType,
    detail: Option<Cow<'static, str>>,
    errors: Vec<FieldError>,
    members: Map<String, Value>,
    headers: HeaderMap,
}

impl Problem {
    /// A problem of this type, with nothing more to say yet.
    #[must_use]
    pub fn new(kind: ProblemType) -> Self {
        Self {
            kind,
            detail: None,
            errors: Vec::new(),
            members: Map::new(),
            headers: HeaderMap::new(),
        }
    }

    /// An unexpected failure. The cause is logged here, once, and forgotten: the client reads “internal error”.
    #[must_use]
    pub fn internal<E: std::fmt::Display + std::fmt::Debug>(cause: E) -> Self {
        tracing::error!(cause = %cause, chain = ?cause, "internal error");
        Self::new(catalogue::INTERNAL)
    }

    /// Adds the sentence that explains this occurrence to a person. Never the text of a foreign error.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds one fault of the request: `pointer` is an RFC 6901 JSON pointer into the body, `code` a stable word.
    #[must_use]
    pub fn field_error(
        self,
        pointer: impl Into<String>,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        self.fault(FieldError::new(pointer, code.into(), detail))
    }

    /// Adds one fault of the request.
    #[must_use]
    pub fn fault(mut self, error: FieldError) -> Self {
        self.errors.push(error);
        self
    }

    /// Says when to try again, in whole seconds: the `Retry-After` field and the `retry_after` member, always equal.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.headers
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        self.members
            .insert("retry_after".to_owned(), Value::from(seconds));
        self
    }

    /// Adds an extension member (RFC 9457 §3.2).
    #[must_use]
    pub fn member(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header field to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// The type of this problem.
    #[must_use]
    pub const fn kind(&self) -> ProblemType {
        self.kind
    }

    /// The HTTP status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// The header fields that go with the answer, beside `Content-Type`.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The document as a client reads it; `instance` is `urn:request:<request id>` when the id is known.
    #[must_use]
    pub fn to_document(&self, request_id: Option<&str>) -> ProblemDocument {
        ProblemDocument {
            kind: self.kind.uri().into_owned(),
            title: self.kind.title().to_owned(),
            status: self.kind.status().as_u16(),
            detail: self.detail.as_deref().map(str::to_owned),
            instance: request_id.map(|id| format!("urn:request:{id}")),
            errors: self.errors.clone(),
            members: self.members.clone(),
        }
    }

    /// The document as JSON text.
    #[must_use]
    pub fn to_json(&self, request_id: Option<&str>) -> Vec<u8> {
        serde_json::to_vec(&self.to_document(request_id)).unwrap_or_else(|_| b"{}".to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_rfc_9457_asks() {
        let problem = Problem::new(catalogue::VALIDATION_FAILED)
            .detail("two members are wrong")
            .field_error("/amount", "not_positive", "amount must be at least 1")
            .fault(FieldError::new("/password", "too_short", "too few").param("min", 15))
            .retry_after(7);
        let json: Value = serde_json::from_slice(&problem.to_json(Some("abc"))).unwrap();

        assert_eq!(
            json,
            serde_json::json!({
                "type": "urn:portico:problem:validation-failed",
                "title": "The request is not valid",
                "status": 422,
                "detail": "two members are wrong",
                "instance": "urn:request:abc",
                "errors": [
                    {"pointer": "/amount", "code": "not_positive", "detail": "amount must be at least 1"},
                    {"pointer": "/password", "code": "too_short", "detail": "too few", "params": {"min": 15}},
                ],
                "retry_after": 7,
            })
        );
        assert_eq!(problem.headers()[header::RETRY_AFTER], "7");
    }

    #[test]
    fn an_internal_error_tells_the_client_nothing() {
        let problem = Problem::internal("password=hunter2 at 10.0.0.7");
        let text = String::from_utf8(problem.to_json(None)).unwrap();

        assert_eq!(problem.status(), 500);
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn every_common_type_has_a_valid_status_and_its_own_uri() {
        let mut uris: Vec<_> = catalogue::ALL
            .iter()
            .map(|kind| kind.uri().into_owned())
            .collect();
        for kind in catalogue::ALL {
            assert!(
                kind.status().is_client_error() || kind.status().is_server_error(),
                "{kind:?}"
            );
        }
        uris.sort();
        uris.dedup();
        assert_eq!(uris.len(), catalogue::ALL.len());
    }
}
