//! What the gateway answers by itself: the public keys, and whether it lives and is ready.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::Result;
use pingora::proxy::Session;
use policy::{Scheme, Served};
use problem::{Problem, catalogue};

use super::answer;
use super::context::{RequestContext, Verdict};
use super::request;
use crate::server::Shared;

/// How long others may keep the keys; a new key is published longer than this before its first use (J39).
const JWKS_CACHE: &str = "public, max-age=300, must-revalidate";
const JWKS_TYPE: &str = "application/jwk-set+json";
const RETRY_S: u64 = 2;

/// Answers.
///
/// # Errors
/// When the client is gone.
pub(super) async fn serve(
    shared: &Shared,
    session: &mut Session,
    ctx: &mut RequestContext,
    served: Served,
) -> Result<()> {
    match served {
        Served::Live => status(session, ctx, "live").await,
        Served::Ready if shared.readiness.report().await.is_ready() => status(session, ctx, "ready").await,
        Served::Ready => unavailable(session, ctx, "not_ready").await,
        Served::Jwks => jwks(shared, session, ctx).await,
    }
}

/// Whether a request may be what [`challenge`] answers: a GET in clear.
pub(super) fn may_be_challenge(session: &Session, ctx: &RequestContext) -> bool {
    let connection = ctx.connection.as_ref();
    connection.is_some_and(|connection| connection.scheme() == Scheme::Http)
        && session.req_header().method == Method::GET
}

/// Answers an authority that asks in clear for a proof that a name is ours (RFC 8555 §8.3), for as long as there is one
/// to give: the one answer in clear that is no redirect. Returns whether it did.
///
/// # Errors
/// When the client is gone.
pub(super) async fn challenge(
    shared: &Shared,
    session: &mut Session,
    ctx: &mut RequestContext,
) -> Result<bool> {
    let Some(proof) = shared.challenges.proof(session.req_header().raw_path()) else {
        return Ok(false);
    };
    ctx.verdict = Verdict::Answered;
    ctx.reason = Some("acme_challenge");
    let headers = [(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    )];
    answer::write(session, ctx, StatusCode::OK, &headers, Bytes::from(proof)).await?;
    Ok(true)
}

async fn status(session: &mut Session, ctx: &RequestContext, word: &'static str) -> Result<()> {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let body = Bytes::from(format!("{{\"status\":\"{word}\"}}"));
    answer::write(session, ctx, StatusCode::OK, &headers, body).await
}

/// What is missing is for operators, who ask the private listener.
async fn unavailable(session: &mut Session, ctx: &mut RequestContext, reason: &'static str) -> Result<()> {
    ctx.reason = Some(reason);
    let problem = Problem::new(catalogue::UNAVAILABLE).retry_after(RETRY_S);
    answer::write_problem(session, ctx, problem).await
}

/// The key set (RFC 7517 §5) from the gateway's own copy, so that it is there when the control plane is not.
async fn jwks(shared: &Shared, session: &mut Session, ctx: &mut RequestContext) -> Result<()> {
    let Some(keys) = shared.keys.current() else {
        return unavailable(session, ctx, "no_keys").await;
    };
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(JWKS_TYPE)),
        (header::CACHE_CONTROL, HeaderValue::from_static(JWKS_CACHE)),
        (
            header::ETAG,
            HeaderValue::from_str(keys.etag()).unwrap_or_else(|_| HeaderValue::from_static("\"\"")),
        ),
    ];
    let known = request::text(&session.req_header().headers, &header::IF_NONE_MATCH).is_some_and(|tags| {
        tags.split(',')
            .any(|tag| tag.trim().trim_start_matches("W/") == keys.etag())
    });
    let (status, body) = if known {
        (StatusCode::NOT_MODIFIED, Bytes::new())
    } else {
        (StatusCode::OK, keys.jwks())
    };
    answer::write(session, ctx, status, &headers, body).await
}
