//! From pingora's session to what the policy wants to know.

use std::borrow::Cow;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Version, header};
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};
use policy::{Outcome, RequestHead};
use problem::catalogue;
use tokio::time::timeout;

use super::context::RequestContext;
use crate::connection::framing::{Fields, Refusal};
use crate::evidence::LiveEvidence;
use crate::server::Shared;

/// What pingora can replay to the upstream after it was read here.
const REPLAY_BYTES: u64 = 64 * 1024;
/// Characters of a path that is not canonical, in the log.
const LOGGED_PATH: usize = 200;

/// Rules that hold for HTTP/2 as they do for HTTP/1, which was checked before pingora saw it; and the
/// names of the request, once no field of them can be ambiguous.
///
/// # Errors
/// The rule that the head breaks.
pub(super) fn check(session: &Session, ctx: &mut RequestContext) -> std::result::Result<(), Refusal> {
    let head = session.req_header();
    ctx.path = shorten(head.raw_path());
    ctx.origin = text(&head.headers, header::ORIGIN.as_str()).map(str::to_owned);
    if head.version == Version::HTTP_2 {
        let mut fields = Fields::default();
        fields.observe_http2(&head.headers)?;
        fields.finish(head.method.as_str().as_bytes())?;
    }
    ctx.identify(&head.headers);
    check_host(session, ctx)?;
    if std::str::from_utf8(head.raw_path()).is_err() {
        return Err(Refusal::malformed(
            "PA-2",
            "the request target is not a path that a client may send",
        ));
    }
    Ok(())
}

/// The host is one that the connection's certificate is for (TLS-3). One that the policy does not know is refused by it.
fn check_host(session: &Session, ctx: &RequestContext) -> std::result::Result<(), Refusal> {
    let tls = ctx
        .connection
        .as_ref()
        .and_then(|connection| connection.tls.as_ref());
    let asked = host(session);
    let without_port = asked
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(asked, |(host, _)| host);
    let mut hosts = ctx.snapshot.plan.hosts().iter();
    let known = hosts.find(|known| known.eq_ignore_ascii_case(without_port));
    match (tls, known) {
        (Some(tls), Some(host)) if !tls.agrees(host) => Err(Refusal {
            kind: catalogue::MISDIRECTED,
            rule: "TLS-3",
            detail: "this host needs a connection of its own",
        }),
        _ => Ok(()),
    }
}

/// The path without its query, printable and not too long: for requests whose path is not canonical.
fn shorten(target: &[u8]) -> String {
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    path.iter()
        .take(LOGGED_PATH)
        .map(|byte| {
            if byte.is_ascii_graphic() {
                char::from(*byte)
            } else {
                '?'
            }
        })
        .collect()
}

pub(super) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// `Host`, or `:authority` in HTTP/2 (pingora has checked that they agree); empty when there is none.
pub(super) fn host(session: &Session) -> &str {
    let head = session.req_header();
    match head.uri.authority() {
        Some(authority) if head.version == Version::HTTP_2 => authority.as_str(),
        _ => text(&head.headers, header::HOST.as_str()).unwrap_or_default(),
    }
}

fn head<'r>(
    session: &'r Session,
    ctx: &'r RequestContext,
    body: Option<&'r [u8]>,
) -> Option<RequestHead<'r>> {
    let connection = ctx.connection.as_ref()?;
    let request = session.req_header();
    Some(RequestHead {
        listener: &connection.entrance.listener,
        scheme: connection.scheme(),
        method: request.method.as_str(),
        target: std::str::from_utf8(request.raw_path()).ok()?,
        host: host(session),
        headers: &request.headers,
        client: connection.client,
        body,
        https_port: connection.entrance.https_port,
    })
}

/// Asks the policy. `None` when the request belongs to no connection of ours, which permits nothing.
pub(super) fn evaluate(
    shared: &Shared,
    session: &Session,
    ctx: &RequestContext,
    body: Option<&[u8]>,
) -> Option<Outcome> {
    let head = head(session, ctx, body)?;
    let evidence = LiveEvidence {
        shared,
        snapshot: &ctx.snapshot,
        connection: ctx.connection.as_deref(),
    };
    Some(ctx.snapshot.plan.evaluate(&head, &evidence))
}

/// Reads the body when the decision depends on it; pingora replays it to the upstream.
///
/// # Errors
/// The outer error is the connection's; the inner one a refusal: too large, or too slow.
pub(super) async fn body_for_decision(
    session: &mut Session,
    ctx: &mut RequestContext,
) -> Result<std::result::Result<Option<Vec<u8>>, Refusal>> {
    let needed = head(session, ctx, None).and_then(|head| ctx.snapshot.plan.body_needed(&head));
    let Some(limit) = needed else { return Ok(Ok(None)) };
    let limit = limit.min(REPLAY_BYTES);
    session.enable_retry_buffering();
    continue_if_expected(session).await?;
    let deadline = ctx.snapshot.plan.floor().body_timeout;
    let mut body = Vec::new();
    let read = timeout(deadline, async {
        while let Some(chunk) = session.read_request_body().await? {
            body.extend_from_slice(&chunk);
            if exceeds(body.len(), limit) {
                return Ok::<_, Box<Error>>(false);
            }
        }
        Ok(true)
    });
    Ok(match read.await {
        Ok(Ok(true)) => Ok(Some(body)),
        Ok(Ok(false)) => Err(too_large()),
        Ok(Err(error)) if matches!(error.etype(), ErrorType::ReadTimedout) => Err(too_slow()),
        Ok(Err(error)) => return Err(error.into_down()),
        Err(_) => Err(too_slow()),
    })
}

const fn too_large() -> Refusal {
    let detail = "the body is larger than this route takes";
    Refusal {
        kind: catalogue::PAYLOAD_TOO_LARGE,
        rule: "limits.body",
        detail,
    }
}

const fn too_slow() -> Refusal {
    let detail = "the request body took too long";
    Refusal {
        kind: catalogue::REQUEST_TIMEOUT,
        rule: "floor.body_timeout",
        detail,
    }
}

fn exceeds(length: usize, limit: u64) -> bool {
    u64::try_from(length).map_or(true, |length| length > limit)
}

/// Tells a waiting client to send its body (RFC 9110 §10.1.1): the upstream is never asked.
pub(super) async fn continue_if_expected(session: &mut Session) -> Result<()> {
    let expects = session.req_header().headers.contains_key(header::EXPECT);
    if expects && !session.is_body_done() {
        // Pingora gives up keep-alive whenever it writes before the body is read; this once it must not.
        let keepalive = session.get_keepalive();
        session.write_continue_response().await?;
        session.set_keepalive(keepalive);
    }
    Ok(())
}

/// Counts the body on its way to the upstream, and how long it takes.
///
/// # Errors
/// `HTTPStatus` 413 and 408, which end the request.
pub(super) fn watch_body(
    session: &mut Session,
    chunk: Option<&Bytes>,
    end_of_stream: bool,
    ctx: &mut RequestContext,
) -> Result<()> {
    let length = chunk.map_or(0, |chunk| u64::try_from(chunk.len()).unwrap_or(u64::MAX));
    ctx.body_bytes = ctx.body_bytes.saturating_add(length);
    if ctx.body_bytes > ctx.permitted()?.body_limit() {
        return Err(Error::new_down(ErrorType::HTTPStatus(413)));
    }
    if !end_of_stream {
        let started = *ctx.body_started.get_or_insert_with(Instant::now);
        let Some(left) = ctx
            .snapshot
            .plan
            .floor()
            .body_timeout
            .checked_sub(started.elapsed())
        else {
            return Err(Error::new_down(ErrorType::HTTPStatus(408)));
        };
        session.set_read_timeout(Some(left));
    }
    Ok(())
}

/// The path and query to send: what was matched is what is forwarded (PA-1).
pub(super) fn target<'p>(path: &'p str, query: Option<&str>) -> Cow<'p, str> {
    query.map_or(Cow::Borrowed(path), |query| Cow::Owned(format!("{path}?{query}")))
}
