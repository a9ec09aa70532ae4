//! `Idempotency-Key`: the same request, sent again, has the same effect and the same answer.
//!
//! Two layers. An answer is kept for its time to live with the hash of the request. Below it the key leads to a
//! permanent id (of the ledger entry, of the account), so that a repetition after that time cannot happen twice either.
//!
//! **Invariant:** the record is written by the statement that does the work, never before it and never after it.

mod key;
mod purge;
mod store;

pub(crate) use key::{IdempotencyKey, OptionalIdempotencyKey, RefreshKey};
pub(crate) use purge::purge_expired;

use aws_lc_rs::digest;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, header};
use problem::{Problem, ProblemType};

/// The header is missing where it is required.
pub(crate) const KEY_REQUIRED: ProblemType = ProblemType::new(
    "idempotency-key-required",
    400,
    "The Idempotency-Key header is required",
);
/// The header is not a key.
pub(crate) const KEY_MALFORMED: ProblemType = ProblemType::new(
    "idempotency-key-malformed",
    400,
    "The Idempotency-Key header is malformed",
);
/// The key came before with another request.
pub(crate) const KEY_REUSED: ProblemType = ProblemType::new(
    "idempotency-key-reused",
    422,
    "The Idempotency-Key was used for another request",
);
/// The work was done, so long ago that its answer is not kept any more.
pub(crate) const ALREADY_PROCESSED: ProblemType =
    ProblemType::new("already-processed", 409, "The request was processed before");

/// Says that an answer is a repetition.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The hash of what a client asked for: two requests with one key are the same exactly when their hashes are.
/// Nothing that the server makes up goes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestHash(Vec<u8>);

impl RequestHash {
    /// Hashes an operation and its canonical parts. Each part is length-prefixed; an absent one differs from an empty one.
    pub(crate) fn of(operation: &str, parts: &[Option<&str>]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in std::iter::once(Some(operation)).chain(parts.iter().copied()) {
            match part {
                Some(text) => {
                    context.update(&[1]);
                    context.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
                    context.update(text.as_bytes());
                }
                None => context.update(&[0]),
            }
        }
        Self(context.finish().as_ref().to_vec())
    }

    /// The 32 bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// An answer that was, or will be, kept byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptAnswer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body: JSON for a success, a problem document for a refusal.
    pub(crate) body: Vec<u8>,
    /// Whether the client has been given it before.
    pub(crate) replayed: bool,
}

impl KeptAnswer {
    /// The answer on the wire; `location` is where the thing that was made can be found.
    pub(crate) fn into_response(self, location: Option<&str>) -> Response {
        let success = self.status < 400;
        let content_type = if success {
            "application/json"
        } else {
            problem::CONTENT_TYPE
        };
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if self.replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        if let Some(Ok(location)) = location.filter(|_| success).map(HeaderValue::from_str) {
            headers.insert(header::LOCATION, location);
        }
        response
    }
}

/// 422: the key belongs to another request.
pub(crate) fn key_reused() -> Problem {
    Problem::new(KEY_REUSED).detail("use a new key for a new request")
}

/// 409: done before, and `location` is where to look.
pub(crate) fn already_processed(location: &str) -> Problem {
    Problem::new(ALREADY_PROCESSED)
        .detail("the first answer is not kept any more; look at the resource")
        .member("location", location)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_hash_tells_requests_apart(
            a in proptest::collection::vec(proptest::option::of("[a-c]{0,3}"), 0..4),
            b in proptest::collection::vec(proptest::option::of("[a-c]{0,3}"), 0..4),
        ) {
            let hash = |parts: &[Option<String>]| {
                RequestHash::of("op", &parts.iter().map(Option::as_deref).collect::<Vec<_>>())
            };
            prop_assert_eq!(hash(&a) == hash(&b), a == b);
        }
    }
}
