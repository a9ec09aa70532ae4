//! What a gateway fetches: statements and pages of lists by their digest, and the trust document in force.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use fleet::Digest;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::error::FleetError;
use super::member::Member;
use super::{envelopes, store};
use crate::extract::Path;
use crate::state::AppState;

/// The media type of an envelope.
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
/// That of a page, which is a JSON array.
const PAGE: &str = "application/json";

/// Gives the exact bytes of a statement or of a page of a list. They never change: the digest is their name. 404 when there are none.
pub(super) async fn show_blob(
    State(state): State<AppState>,
    _: Member,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Result<Response, FleetError> {
    blob(&state, &digest, &headers).await
}

/// The same, for operators.
pub(super) async fn show_statement(
    State(state): State<AppState>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Result<Response, FleetError> {
    blob(&state, &digest, &headers).await
}

async fn blob(state: &AppState, digest: &str, headers: &HeaderMap) -> Result<Response, FleetError> {
    let unknown = FleetError::NotFound("no statement has this digest");
    let Ok(digest) = digest.parse::<Digest>() else {
        return Err(unknown);
    };
    let envelope = envelopes::blob(state, digest).await?.ok_or(unknown)?;
    Ok(answer(
        envelope,
        digest,
        "public, max-age=31536000, immutable",
        headers,
    ))
}

/// Gives the trust document in force, as the roots have signed it. 404 before there is one.
pub(super) async fn show_trust(
    State(state): State<AppState>,
    _: Member,
    headers: HeaderMap,
) -> Result<Response, FleetError> {
    let mut conn = state.db.acquire().await?;
    let envelope = store::trust(&mut conn).await?;
    let envelope = envelope.ok_or(FleetError::NotFound(
        "no trust document is in force: `portico trust sign` makes one",
    ))?;
    let digest = Digest::of(&envelope);
    Ok(answer(envelope.into(), digest, "no-cache", &headers))
}

fn answer(envelope: Bytes, digest: Digest, cache: &'static str, headers: &HeaderMap) -> Response {
    let etag = format!("\"{digest}\"");
    let is_held = headers.get_all(header::IF_NONE_MATCH).iter().any(|held| {
        held.to_str()
            .is_ok_and(|held| held.split(',').any(|held| held.trim() == etag))
    });
    let mut response = if is_held {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let media_type = if envelope.starts_with(b"[") {
            PAGE
        } else {
            ENVELOPE
        };
        (
            [(header::CONTENT_TYPE, HeaderValue::from_static(media_type))],
            envelope,
        )
            .into_response()
    };
    let fields = response.headers_mut();
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    // Hexadecimal digits between quotes are always a value.
    fields.extend(HeaderValue::try_from(etag).ok().map(|etag| (header::ETAG, etag)));
    response
}
