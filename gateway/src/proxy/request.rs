//! From pingora's session to what the policy wants to know.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use pingora::protocols::http::ServerSession as HttpSession;
use pingora::protocols::http::v2::server as http2;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};
use policy::framing::Fields;
use policy::{Outcome, Permit, Progress, RequestHead};
use problem::catalogue;
use tokio::time::timeout;

use super::context::RequestContext;
use crate::connection::framing::Refusal;
use crate::evidence::LiveEvidence;
use crate::server::Shared;

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
    ctx.origin = text(&head.headers, &header::ORIGIN).map(str::to_owned);
    if let HttpSession::H2(stream) = session.as_downstream() {
        check_http2(stream)?;
    }
    ctx.identify(&head.headers);
    ctx.announce(&head.headers)?;
    check_host(session, ctx)?;
    if std::str::from_utf8(head.raw_path()).is_err() {
        return Err(Refusal::malformed(
            "PA-2",
            "the request target is not a path that a client may send",
        ));
    }
    Ok(())
}

/// FR-1 to FR-11, as far as the library lets them pass.
fn check_http2(stream: &http2::HttpSession) -> std::result::Result<(), Refusal> {
    let head = stream.req_header();
    let mut fields = Fields::default();
    fields.observe_map(&head.headers)?;
    if !stream.is_body_empty() {
        fields.observe_body();
    }
    fields.finish(head.method.as_str().as_bytes())?;
    // It is spoken over TLS alone; another scheme would be another resource (RFC 9110 §4.3.3).
    if head.uri.scheme() == Some(&Scheme::HTTPS) {
        Ok(())
    } else {
        Err(Refusal::malformed(
            "FR-11",
            "the scheme is not that of the connection",
        ))
    }
}

/// Whether the control plane lets this client in at all (J41); asked with every request, because a connection may be older
/// than the block.
///
/// # Errors
/// 403.
pub(super) fn check_client(shared: &Shared, ctx: &RequestContext) -> std::result::Result<(), Refusal> {
    let revocations = &shared.tokens.revocations;
    let is_blocked = |client| revocations.blocks(client, shared.clock.now().timestamp());
    if revocations.has_blocks() && ctx.client().is_some_and(is_blocked) {
        return Err(Refusal::new(
            catalogue::ADDRESS_REFUSED,
            "J41",
            "requests from this address are not taken",
        ));
    }
    Ok(())
}

/// Whether a client may sign in, where the route counts failures and too many came from its network. What shows a device token
/// is for the core to judge: it knows whether the device is trusted, and lets its owner in.
///
/// # Errors
/// 429.
pub(super) fn check_sign_in(
    shared: &Shared,
    session: &Session,
    ctx: &RequestContext,
    permit: &Permit,
) -> std::result::Result<(), Refusal> {
    let now = shared.clock.now().timestamp();
    let blocked = ctx
        .client()
        .and_then(|client| shared.tokens.revocations.blocks_sign_in(client, now));
    let Some(seconds) = blocked else { return Ok(()) };
    let counts_failures = |limit: &Arc<policy::RateLimit>| limit.count == policy::Count::Failures;
    if !permit.route().rates().any(counts_failures) || shows_device(&session.req_header().headers) {
        return Ok(());
    }
    Err(Refusal {
        retry_after_s: Some(seconds),
        ..Refusal::new(
            catalogue::TOO_MANY_ATTEMPTS,
            "lockout.address",
            "too many failed log-ins came from this address",
        )
    })
}

fn shows_device(headers: &HeaderMap) -> bool {
    let is_shown = |value: &HeaderValue| value.as_bytes().windows(11).any(|part| part == b"__Host-dev=");
    headers.contains_key("x-device-token") || headers.get_all(header::COOKIE).iter().any(is_shown)
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
        (Some(tls), Some(host)) if !tls.agrees(host) => Err(Refusal::new(
            catalogue::MISDIRECTED,
            "TLS-3",
            "this host needs a connection of its own",
        )),
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

pub(super) fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// `Host`, or `:authority` in HTTP/2 (pingora has checked that they agree); empty when there is none.
pub(super) fn host(session: &Session) -> &str {
    let head = session.req_header();
    match head.uri.authority() {
        Some(authority) if head.version == Version::HTTP_2 => authority.as_str(),
        _ => text(&head.headers, &header::HOST).unwrap_or_default(),
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
        client: ctx.client()?,
        body,
        https_port: connection.entrance.https_port,
    })
}

/// Asks the policy; the body is read when, and only when, everything before it has let the request pass.
///
/// # Errors
/// The connection's, while the body is read; and a request that belongs to no connection of ours.
pub(super) async fn evaluate(
    shared: &Shared,
    session: &mut Session,
    ctx: &mut RequestContext,
) -> Result<Outcome> {
    let snapshot = Arc::clone(&ctx.snapshot);
    let (plan, evidence) = (
        &snapshot.plan,
        LiveEvidence {
            shared,
            snapshot: &snapshot,
            token: &ctx.token,
            connection: ctx.connection.as_deref(),
        },
    );
    let progress = head(session, ctx, None).map(|head| plan.begin(&head, &evidence));
    let paused = match progress.ok_or_else(outside)? {
        Progress::Decided(outcome) => {
            judge_in_shadow(&evidence, session, ctx, None, &outcome);
            return Ok(outcome);
        }
        Progress::NeedsBody(paused) => paused,
    };
    // Boxed: few requests come to this, and the future of all of them would hold it.
    let body = Box::pin(read_body(session, ctx, paused.body_limit())).await?;
    Ok(match body {
        Body::Whole(body) => {
            let outcome = {
                let head = head(session, ctx, Some(&body)).ok_or_else(outside)?;
                plan.resume(paused, &head, &evidence)
            };
            judge_in_shadow(&evidence, session, ctx, Some(&body), &outcome);
            outcome
        }
        Body::TooLarge => {
            session.set_keepalive(None);
            paused.too_large()
        }
        Body::TooSlow => {
            session.set_keepalive(None);
            paused.too_slow(plan)
        }
    })
}

/// Lets a policy judge the request that is only tried, if there is one.
fn judge_in_shadow(
    evidence: &LiveEvidence<'_>,
    session: &Session,
    ctx: &RequestContext,
    body: Option<&[u8]>,
    outcome: &Outcome,
) {
    if let Some(shadow) = evidence.shared.shadow.current().as_ref()
        && let Some(head) = head(session, ctx, body)
    {
        shadow.judge(&head, outcome, evidence);
    }
}

fn outside() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "a request outside any connection")
}

enum Body {
    Whole(Vec<u8>),
    TooLarge,
    TooSlow,
}

/// Reads a body that the decision depends on; pingora replays it to the upstream.
async fn read_body(session: &mut Session, ctx: &RequestContext, limit: u64) -> Result<Body> {
    session.enable_retry_buffering();
    if is_continue_expected(session) {
        tell_to_continue(session).await?;
    }
    let mut body = Vec::new();
    let read = timeout(ctx.snapshot.plan.floor().body_timeout, async {
        while let Some(chunk) = session.read_request_body().await? {
            body.extend_from_slice(&chunk);
            if exceeds(body.len(), limit) {
                return Ok::<_, Box<Error>>(false);
            }
        }
        Ok(true)
    });
    Ok(match read.await {
        Ok(Ok(true)) => Body::Whole(body),
        Ok(Ok(false)) => Body::TooLarge,
        Ok(Err(error)) if matches!(error.etype(), ErrorType::ReadTimedout) => Body::TooSlow,
        Ok(Err(error)) => return Err(error.into_down()),
        Err(_) => Body::TooSlow,
    })
}

fn exceeds(length: usize, limit: u64) -> bool {
    u64::try_from(length).map_or(true, |length| length > limit)
}

/// Whether a client waits to be told to send its body.
pub(super) fn is_continue_expected(session: &mut Session) -> bool {
    session.req_header().headers.contains_key(header::EXPECT) && !session.is_body_done()
}

/// Tells a waiting client to send its body (RFC 9110 §10.1.1): the upstream is never asked.
pub(super) async fn tell_to_continue(session: &mut Session) -> Result<()> {
    // Pingora gives up keep-alive whenever it writes before the body is read; this once it must not.
    let keepalive = session.get_keepalive();
    session.write_continue_response().await?;
    session.set_keepalive(keepalive);
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
    let permit = ctx.permitted()?;
    if ctx.body_bytes > permit.body_limit() {
        ctx.rule = Some(permit.route().body_rule().clone());
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
            ctx.rule = Some(ctx.snapshot.plan.floor().body_timeout_rule.clone());
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
