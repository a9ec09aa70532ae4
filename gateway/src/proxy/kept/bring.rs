//! What an upstream brings: which of its answers are kept, and how they get there.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use policy::{Action, CacheKey};

use super::Outcome;
use crate::cache::{Fill, Head, Lifetime, vary};
use crate::proxy::context::RequestContext;
use crate::server::Shared;

/// An answer that may be kept, before its body.
pub(super) struct Coming {
    vary: Vec<HeaderName>,
    lifetime: Lifetime,
    /// Bytes that the upstream announced; `None` when it ends them with a chunk.
    announced: Option<u64>,
    seen: u64,
}

/// The upstream has begun to answer: whether that may be kept is seen by what it says itself.
pub(in crate::proxy) fn examine(
    shared: &Shared,
    session: &Session,
    ctx: &mut RequestContext,
    response: &ResponseHeader,
) {
    if response.status.as_u16() < 500
        && let Some(change) = ctx.change.take()
    {
        change.settle();
    }
    let stale_for = match ctx.permit_at_end().map(policy::Permit::action) {
        Some(Action::Upstream(upstream)) => {
            let fallback = upstream.breaker.as_ref().and_then(|it| it.fallback.as_ref());
            fallback.and_then(|fallback| fallback.stale_for)
        }
        _ => None,
    };
    let Some(kept) = &mut ctx.kept else { return };
    let is_private = kept.kept.key == CacheKey::Principal;
    if !response.status.is_server_error() && (is_private || kept.outcome != Outcome::Bypass) {
        kept.mark = shared.cache.arrive(kept.request, kept.mark);
    }
    if kept.mark.is_none() {
        kept.leader = None;
        return;
    }
    kept.coming = coming(response, &kept.kept, stale_for.unwrap_or_default());
    if kept.coming.is_none() {
        // A service that fails is asked by one after the other; what it keeps to itself, by all at once.
        if !response.status.is_server_error() && kept.leader.is_some() {
            let headers = &session.req_header().headers;
            shared.cache.note_not_kept(&kept.key, headers, kept.kept.time);
        }
        kept.leader = None;
    }
}

fn coming(response: &ResponseHeader, kept: &policy::Cache, stale_for: Duration) -> Option<Coming> {
    let headers = &response.headers;
    let is_special = [
        header::SET_COOKIE,
        header::CONTENT_ENCODING,
        header::CONTENT_RANGE,
        header::TRAILER,
    ];
    if response.status != StatusCode::OK || is_special.iter().any(|name| headers.contains_key(name)) {
        return None;
    }
    // A body that ends with its connection may have been cut off.
    let announced = match headers.get(header::CONTENT_LENGTH) {
        Some(length) => Some(length.to_str().ok()?.parse().ok()?),
        None if headers.contains_key(header::TRANSFER_ENCODING) => None,
        None => return None,
    };
    if announced.is_some_and(|length| length == 0) {
        return None;
    }
    let mut vary = vary(headers)?;
    // These differ for each client or each request, and are not in the key.
    const OURS: [&str; 4] = ["x-forwarded-for", "x-request-id", "traceparent", "tracestate"];
    if vary.iter().any(|name| OURS.contains(&name.as_str())) {
        return None;
    }
    // These are in the key already, or never reach the upstream as the client sent them.
    let is_keyed = |name: &HeaderName| {
        kept.key == CacheKey::Public
            || [header::ACCEPT_ENCODING, header::AUTHORIZATION, header::HOST].contains(name)
            || ["x-auth-", "x-forwarded-", "x-client-cert"]
                .iter()
                .any(|prefix| name.as_str().starts_with(prefix))
    };
    vary.retain(|name| !is_keyed(name));
    Some(Coming {
        vary,
        lifetime: Lifetime::of(headers, kept, stale_for)?,
        announced,
        seen: 0,
    })
}

/// Begins to collect an answer, as it is sent but for what is of this one request.
pub(in crate::proxy) fn begin(shared: &Shared, ctx: &mut RequestContext, response: &ResponseHeader) {
    let Some(kept) = ctx.kept.as_mut() else { return };
    let (Some(coming), Some(mark)) = (&kept.coming, kept.mark) else {
        return;
    };
    let head = Head {
        key: kept.key,
        vary: coming.vary.clone(),
        headers: of_the_answer(&response.headers),
        lifetime: coming.lifetime,
        mark,
        largest: kept.kept.largest,
    };
    kept.fill = Some(Fill::new(shared.cache.clone(), head, kept.leader.take()));
}

/// The fields that belong to the answer, not to its framing, one request or one cache.
fn of_the_answer(headers: &HeaderMap) -> HeaderMap {
    const OTHERS: [&str; 7] = [
        "age",
        "cache-status",
        "content-length",
        "expires",
        "pragma",
        "transfer-encoding",
        "x-request-id",
    ];
    headers
        .iter()
        .filter(|(name, _)| !OTHERS.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Counts what the upstream sends.
pub(in crate::proxy) fn count(ctx: &mut RequestContext, part: Option<&Bytes>) {
    let coming = ctx.kept.as_mut().and_then(|kept| kept.coming.as_mut());
    if let Some(coming) = coming {
        let length = part.map_or(0, |part| u64::try_from(part.len()).unwrap_or(u64::MAX));
        coming.seen = coming.seen.saturating_add(length);
    }
}

/// Collects what is sent to the client; at the end, a whole answer is kept.
pub(in crate::proxy) fn collect(
    shared: &Shared,
    session: &Session,
    ctx: &mut RequestContext,
    part: Option<&Bytes>,
    is_end: bool,
) {
    let Some(kept) = ctx.kept.as_mut() else { return };
    let Some(fill) = kept.fill.take() else { return };
    let fill = match part {
        Some(part) => fill.push(part),
        None => Some(fill),
    };
    let Some(fill) = fill else {
        let headers = &session.req_header().headers;
        shared.cache.note_not_kept(&kept.key, headers, kept.kept.time);
        return;
    };
    if !is_end {
        kept.fill = Some(fill);
        return;
    }
    let is_whole = kept.coming.as_ref().is_some_and(|coming| {
        coming.seen > 0 && coming.announced.is_none_or(|announced| announced == coming.seen)
    });
    if is_whole {
        fill.complete(&session.req_header().headers);
    }
}
