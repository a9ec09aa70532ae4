//! What handlers read from a request and how they answer; a rejection is a problem document.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use problem::{Problem, catalogue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use service_runtime::http::RequestId;

/// The header in which an operator's tool names the person at the keyboard. It is for the record only: what may be done
/// is decided by who can open the socket.
const OPERATOR: &str = "x-operator";

/// Query parameters.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    #[expect(
        clippy::disallowed_types,
        reason = "the one place that turns its rejection into a problem"
    )]
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|query| Self(query.0))
            .map_err(|_| {
                Problem::new(catalogue::MALFORMED_REQUEST).detail("the query parameters cannot be read")
            })
    }
}

/// A path parameter. A text that is none names nothing: 404.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        #[expect(
            clippy::disallowed_types,
            reason = "the one place that turns its rejection into a problem"
        )]
        <axum::extract::Path<T> as FromRequestParts<S>>::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(value)| Self(value))
            .map_err(|_| Problem::new(catalogue::NOT_FOUND))
    }
}

/// A JSON body, in or out. What is read has at most as many bytes as the router's `DefaultBodyLimit` lets through.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = body(request, state).await?;
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| Problem::new(catalogue::MALFORMED_REQUEST).detail(format!("the body: {error}")))
    }
}

/// The bytes of a body.
pub(crate) async fn body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        if rejection.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE {
            Problem::new(catalogue::PAYLOAD_TOO_LARGE)
        } else {
            Problem::new(catalogue::MALFORMED_REQUEST).detail("the body did not arrive whole")
        }
    })
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// Who makes a change, for the audit record.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    name: String,
    request_id: Option<String>,
}

impl Actor {
    /// The control plane itself, in its background work.
    pub(crate) fn control_plane() -> Self {
        Self {
            name: "control-plane".to_owned(),
            request_id: None,
        }
    }

    /// `operator`, `operator:<name>`, or `control-plane`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The request in which the change was made.
    pub(crate) fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = match parts.headers.get(OPERATOR) {
            None => "operator".to_owned(),
            Some(value) => match value.to_str().ok().filter(|name| is_operator_name(name)) {
                Some(name) => format!("operator:{name}"),
                None => {
                    return Err(Problem::new(catalogue::MALFORMED_REQUEST)
                        .detail("x-operator must be 1 to 64 characters of A-Z a-z 0-9 . _ @ -"));
                }
            },
        };
        let request_id =
            <axum::Extension<RequestId> as OptionalFromRequestParts<S>>::from_request_parts(parts, state)
                .await
                .ok()
                .flatten()
                .map(|id| id.as_str().to_owned());
        Ok(Self { name, request_id })
    }
}

fn is_operator_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'@' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}
