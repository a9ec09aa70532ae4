//! WebSockets (RFC 6455, EDG-14): the handshake with both sides, under the permit of the route.
//!
//! The gateway connects by itself instead of letting pingora upgrade: it must end sockets with a close frame when a token
//! expires or the process stops, and pingora has no place for that in its loop.

mod agreement;
mod frames;
mod rights;
mod tunnel;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};
use policy::{Timeouts, WebSocket};
use problem::{Problem, ProblemType, catalogue};
use tokio::time::timeout;

use super::context::RequestContext;
use super::hop_by_hop::of_connection;
use super::{answer, upstream, upstream_request};
use crate::server::Shared;
use crate::upstreams::Io;
use rights::Rights;
use tunnel::Tunnel;

/// A request that wants no WebSocket where there is nothing else.
pub(super) const UPGRADE_REQUIRED: ProblemType =
    ProblemType::new("upgrade-required", 426, "Only a WebSocket can be opened here");

/// An upstream that does not agree says why in no more than this.
const MOST_REFUSAL: usize = 64 * 1024;

/// Whether a request asks for a WebSocket; HTTP/2 has another way (RFC 8441), which is not offered.
pub(super) fn is_wanted(session: &Session) -> bool {
    let head = session.req_header();
    head.version == Version::HTTP_11
        && words(&head.headers, &header::UPGRADE).any(|word| word.eq_ignore_ascii_case("websocket"))
        && words(&head.headers, &header::CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade"))
}

fn words<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
}

/// Opens the socket and keeps it until it ends.
///
/// # Errors
/// When the upstream cannot be reached or breaks off before it has answered, and when the client is gone.
pub(super) async fn serve(
    shared: &Shared,
    session: &mut Session,
    ctx: &mut RequestContext,
    websocket: WebSocket,
) -> Result<()> {
    if let Some(problem) = fault(session, ctx) {
        return answer::write_problem(session, ctx, problem).await;
    }
    let (stream, timeouts) = connect(session, ctx).await?;
    let request = request(session, ctx)?;
    let offer = request.headers().clone();
    let asked = timeout(timeouts.read.min(timeouts.total), ask(stream, request)).await;
    let answered = match asked {
        Ok(Ok(answered)) => answered,
        Ok(Err(error)) => {
            upstream::fail_attempt(ctx);
            return Err(Error::because(ErrorType::ReadError, "WebSocket handshake", error).into_up());
        }
        Err(_) => {
            upstream::time_out_attempt(ctx);
            return Err(Error::new_up(ErrorType::ReadTimedout));
        }
    };
    match answered {
        Answered::Agreed(head, socket) => {
            if let Some(fault) = agreement::fault(&offer, head.headers()) {
                // What was offered is for the client: it must not be able to take the service away from others.
                return Err(Error::explain(ErrorType::InvalidHTTPHeader, fault).into_up());
            }
            upstream::note_answer(ctx, head.status(), head.headers());
            agree(session, ctx, &head).await?;
            let is_extended = head.headers().contains_key(header::SEC_WEBSOCKET_EXTENSIONS);
            let tunnel = Tunnel::new(websocket, is_extended);
            let end = tunnel.run(session, socket, Rights::of(ctx).end(shared)).await?;
            ctx.reason = Some(end.as_str());
            Ok(())
        }
        Answered::Refused(head, body) => {
            upstream::note_answer(ctx, head.status(), head.headers());
            let content_type = head.headers().get(header::CONTENT_TYPE);
            let headers: Vec<_> = content_type
                .into_iter()
                .map(|value| (header::CONTENT_TYPE, value.clone()))
                .collect();
            answer::write(session, ctx, head.status(), &headers, body).await
        }
    }
}

/// What is wrong with the handshake of the client (RFC 6455 §4.2.1).
fn fault(session: &Session, ctx: &RequestContext) -> Option<Problem> {
    let headers = &session.req_header().headers;
    // Each comes once: two would be two handshakes.
    let value = |name: HeaderName| {
        let mut values = headers.get_all(name).into_iter();
        values
            .next()
            .filter(|_| values.next().is_none())
            .map(HeaderValue::as_bytes)
    };
    if !ctx.wants_websocket {
        let problem = Problem::new(UPGRADE_REQUIRED).detail("open a WebSocket over HTTP/1.1");
        // HTTP/2 has no such field.
        return Some(match session.req_header().version {
            Version::HTTP_2 => problem,
            _ => problem.header(header::UPGRADE, HeaderValue::from_static("websocket")),
        });
    }
    if value(header::SEC_WEBSOCKET_VERSION) != Some(b"13") {
        let problem = Problem::new(UPGRADE_REQUIRED).detail("version 13 of the protocol is spoken here");
        return Some(problem.header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
    }
    let is_key = |key: &[u8]| key.len() == 24 && key.ends_with(b"==");
    if !value(header::SEC_WEBSOCKET_KEY).is_some_and(is_key) {
        let detail = "`Sec-WebSocket-Key` is not one";
        return Some(Problem::new(catalogue::MALFORMED_REQUEST).detail(detail));
    }
    None
}

/// Connects to an address of the upstream, or to another one when that takes no connection.
async fn connect(session: &Session, ctx: &mut RequestContext) -> Result<(Box<dyn Io>, Timeouts)> {
    loop {
        let timeouts = upstream::begin(ctx).await?;
        let Some(attempt) = &ctx.attempt else {
            return Err(Error::new_in(ErrorType::InternalError));
        };
        let connected = timeout(timeouts.connect, attempt.endpoint().connect()).await;
        if let Ok(Ok(stream)) = connected {
            ctx.upstream_connected = true;
            ctx.phases.connected();
            return Ok((stream, timeouts));
        }
        let error = upstream::decide_after_connecting(session, Error::new_up(ErrorType::ConnectError), ctx);
        if !error.retry() {
            return Err(error);
        }
    }
}

/// What the upstream is asked: what every upstream is, and the upgrade.
fn request(session: &Session, ctx: &RequestContext) -> Result<Request<Empty<Bytes>>> {
    let mut head = session.req_header().clone();
    head.remove_header(&header::CONTENT_LENGTH);
    upstream_request::rewrite(session, &mut head, ctx)?;
    head.insert_header(header::CONNECTION, "Upgrade")?;
    head.insert_header(header::UPGRADE, "websocket")?;
    let target = std::str::from_utf8(head.raw_path()).unwrap_or("/").to_owned();
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = target
        .parse()
        .map_err(|error| Error::because(ErrorType::InternalError, "a target that is none", error))?;
    *request.headers_mut() = head.headers.clone();
    Ok(request)
}

/// What the upstream said.
enum Answered {
    Agreed(Response<()>, Box<dyn Io>),
    Refused(Response<()>, Bytes),
}

async fn ask(
    stream: Box<dyn Io>,
    request: Request<Empty<Bytes>>,
) -> std::result::Result<Answered, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let mut response: Response<Incoming> = sender.send_request(request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let socket = hyper::upgrade::on(&mut response).await?;
            let head = response.map(drop);
            return Ok(Answered::Agreed(head, Box::new(TokioIo::new(socket))));
        }
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MOST_REFUSAL).collect().await?;
        Ok(Answered::Refused(Response::from_parts(head, ()), body.to_bytes()))
    };
    tokio::pin!(exchange);
    let connection = connection.with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        answered = &mut exchange => answered,
        closed = &mut connection => {
            closed?;
            // The connection may end in the same moment as the answer is complete.
            exchange.await
        }
    }
}

/// Tells the client that the upstream agreed.
async fn agree(session: &mut Session, ctx: &RequestContext, head: &Response<()>) -> Result<()> {
    let mut response = ResponseHeader::build(StatusCode::SWITCHING_PROTOCOLS, None)?;
    let is_of_connection = of_connection(head.headers());
    for (name, value) in head.headers() {
        if !is_of_connection(name) {
            response.append_header(name.clone(), value.clone())?;
        }
    }
    answer::set_policy_headers(&mut response, ctx)?;
    response.insert_header(header::CONNECTION, "Upgrade")?;
    response.insert_header(header::UPGRADE, "websocket")?;
    // Pingora looks for the field that was taken away before it was known to be wanted.
    session
        .req_header_mut()
        .insert_header(header::UPGRADE, "websocket")?;
    if let Some(connection) = &ctx.connection {
        connection.upgrade();
    }
    session.write_response_header(Box::new(response), false).await
}
