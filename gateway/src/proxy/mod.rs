//! Every request, phase by phase: ask the policy, forward what it permits, and see to it that every answer is ours.
//!
//! **Invariant:** forwarding needs a [`policy::Permit`], which only evaluation can make. A request without one ends as
//! a 500 and an error in the log, by construction.

mod access_log;
mod answer;
mod compress;
mod context;
mod hop_by_hop;
mod kept;
mod phases;
mod request;
mod served;
mod upstream;
mod upstream_answer;
mod upstream_request;
mod websocket;

pub(crate) use answer::problem_type;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use policy::{Action, Decision};

use crate::connection::CONNECTION;
use crate::connection::framing::Refusal;
use crate::connection::refusal::charged;
use crate::server::Shared;
use crate::since_boot::since_boot;
use context::RequestContext;

/// A client that takes nothing of an answer for this long is cut off.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// What is left of a refused body is read for this long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The proxy of one worker thread.
pub(crate) struct Gateway {
    shared: Arc<Shared>,
}

impl Gateway {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Whether the request is answered already; if not, it is permitted and goes to its upstream.
    ///
    /// What most requests never come to is boxed: its future would be a part of this one, which is copied to the heap for
    /// each of them.
    async fn decide(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
        checked: std::result::Result<(), Refusal>,
    ) -> Result<bool> {
        if checked.is_ok()
            && served::may_be_challenge(session, ctx)
            && Box::pin(served::challenge(&self.shared, session, ctx)).await?
        {
            return Ok(true);
        }
        session.set_read_timeout(Some(ctx.snapshot.plan.floor().body_timeout));
        if let Err(refusal) = checked {
            let refusal = match &ctx.connection {
                Some(connection) => charged(&self.shared, connection, refusal),
                None => refusal,
            };
            return Box::pin(answer::refuse(session, ctx, refusal))
                .await
                .map(|()| true);
        }
        ctx.charged = Instant::now();
        let mut outcome = request::evaluate(&self.shared, session, ctx).await?;
        let evaluated = Instant::now();
        ctx.phases.evaluate = Some(evaluated.duration_since(ctx.charged));
        if !outcome.unconfirmed().is_empty() {
            ctx.reserved = Box::pin(self.shared.limiter.confirm(&mut outcome, ctx.charged)).await;
            ctx.phases.store = Some(evaluated.elapsed());
        }
        match ctx.note(outcome) {
            Decision::Deny(denial) => Box::pin(answer::deny(session, ctx, denial)).await.map(|()| true),
            Decision::Respond(reply) => Box::pin(answer::respond(session, ctx, reply))
                .await
                .map(|()| true),
            Decision::Permit(permit) => {
                if let Err(refusal) = request::check_sign_in(&self.shared, session, ctx, &permit) {
                    Box::pin(answer::refuse(session, ctx, refusal)).await?;
                    return Ok(true);
                }
                let served = match permit.action() {
                    Action::Serve(served) => Some(served),
                    Action::Upstream(_) => None,
                };
                let route = permit.route();
                let (websocket, cache, compresses) =
                    (route.websocket, route.cache, route.compression.is_some());
                ctx.permit(permit);
                let head = session.req_header();
                if websocket.is_some() || !matches!(head.method, Method::GET | Method::HEAD) {
                    ctx.change = Some(kept::begin_change(&self.shared, ctx));
                }
                if compresses {
                    ctx.coding = compress::negotiate(&head.headers);
                }
                if let Some(served) = served {
                    Box::pin(served::serve(&self.shared, session, ctx, served)).await?;
                    return Ok(true);
                }
                if let Some(websocket) = websocket {
                    Box::pin(websocket::serve(&self.shared, session, ctx, websocket)).await?;
                    return Ok(true);
                }
                if let Some(cache) = cache
                    && Box::pin(kept::look(&self.shared, session, ctx, cache)).await?
                {
                    return Ok(true);
                }
                if request::is_continue_expected(session) {
                    Box::pin(request::tell_to_continue(session)).await?;
                }
                Ok(false)
            }
        }
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    /// Boxed, because pingora hands it on by value, and keeps room for it in futures that it copies.
    type CTX = Box<RequestContext>;

    fn new_ctx(&self) -> Box<RequestContext> {
        let connection = CONNECTION.try_with(Arc::clone).ok();
        if let Some(connection) = &connection {
            connection.admit();
        }
        Box::new(RequestContext::new(self.shared.policies.current(), connection))
    }

    /// No module compresses by itself: whether it may is said by the policy.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Box<RequestContext>) -> Result<()> {
        // Pingora waits for ever between requests and for bodies, unless told on every request.
        let idle = self.shared.connections.idle_timeout().as_secs().max(1);
        let is_last = ctx
            .connection
            .as_ref()
            .is_none_or(|connection| connection.is_last_request());
        session.set_keepalive(if is_last || self.shared.drain.has_closed() {
            None
        } else {
            Some(idle)
        });
        if session.is_http2() {
            // In HTTP/1, `connection::stream` does it.
            session.set_write_timeout(Some(WRITE_TIMEOUT));
        }
        session.set_total_drain_timeout(Some(DRAIN_TIMEOUT));
        // Hints of the upstream (103) would leave without the headers of the policy.
        session.set_ignore_info_resp(true);
        // Without the field, this is an ordinary request (RFC 9110 §7.8): whether an upgrade is offered is for the route.
        ctx.wants_websocket = websocket::is_wanted(session);
        upstream_request::remove_upgrade(session.req_header_mut());
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Box<RequestContext>) -> Result<bool> {
        if self.shared.standstill.is_in_doubt(since_boot()) {
            Box::pin(self.shared.standstill.over()).await;
        }
        let checked = request::check(session, ctx).and_then(|()| request::check_client(&self.shared, ctx));
        let identity = ctx.identity().clone();
        // By reference: each wrapper around a future would copy all of it.
        let decided = pin!(self.decide(session, ctx, checked));
        identity.scope(decided).await
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        ctx: &mut Box<RequestContext>,
    ) -> Result<Box<HttpPeer>> {
        upstream::peer(ctx).await
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Box<RequestContext>,
        error: Box<Error>,
    ) -> Box<Error> {
        upstream::decide_after_connecting(session, error, ctx)
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::fd::RawFd,
        _digest: Option<&Digest>,
        ctx: &mut Box<RequestContext>,
    ) -> Result<()> {
        if !reused && !upstream::has_rested(ctx) {
            ctx.phases.connected();
        }
        ctx.upstream_connected = true;
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream_request: &mut RequestHeader,
        ctx: &mut Box<RequestContext>,
    ) -> Result<()> {
        upstream_request::rewrite(session, upstream_request, ctx)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Box<RequestContext>,
    ) -> Result<()> {
        request::watch_body(session, body.as_ref(), end_of_stream, ctx)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        upstream_response: &mut ResponseHeader,
        ctx: &mut Box<RequestContext>,
    ) -> Result<()> {
        upstream_answer::check(upstream_response)?;
        if upstream_response.status.is_informational() {
            upstream_answer::forget_connection(upstream_response);
            return upstream::check_total_time(ctx);
        }
        let (status, headers) = (upstream_response.status, &upstream_response.headers);
        upstream::answered(session, ctx, status, headers)?;
        kept::examine(&self.shared, session, ctx, upstream_response);
        upstream_answer::forget_connection(upstream_response);
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Box<RequestContext>,
    ) -> Result<()> {
        if response.status.is_informational() {
            return Ok(());
        }
        if self.shared.drain.has_closed() {
            session.set_keepalive(None);
        }
        compress::begin(session, ctx, response)?;
        kept::begin(&self.shared, ctx, response);
        answer::set_policy_headers(response, ctx)?;
        kept::tell(response, ctx)
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Box<RequestContext>,
    ) -> Result<Option<Duration>> {
        upstream::check_total_time(ctx)?;
        kept::count(ctx, body.as_ref());
        compress::next(ctx, body, end_of_stream)?;
        kept::collect(&self.shared, session, ctx, body.as_ref(), end_of_stream);
        Ok(None)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Box<RequestContext>,
        client_reused: bool,
    ) -> Box<Error> {
        upstream::decide_retry(session, error, ctx, client_reused)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Box<RequestContext>,
    ) -> FailToProxy {
        kept::end(ctx);
        let identity = ctx.identity().clone();
        if *error.etype() == upstream::BREAKER_OPEN {
            let given = pin!(kept::give_stale(&self.shared, session, ctx));
            if identity.clone().scope(given).await {
                return FailToProxy {
                    error_code: 200,
                    can_reuse_downstream: false,
                };
            }
        }
        let answered = pin!(answer::fail(session, error, ctx));
        identity.scope(answered).await
    }

    /// Pingora's own lines hold the raw request target; ours are written in `logging`.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Box<RequestContext>, _error: &Error) -> bool {
        true
    }

    fn request_summary(&self, _session: &Session, ctx: &Box<RequestContext>) -> String {
        format!("request {}", ctx.identity().request_id())
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Box<RequestContext>) {
        let now = Instant::now();
        upstream::finish(ctx, error, now);
        kept::end(ctx);
        kept::report(ctx);
        if !ctx.counts_as_failure(error) {
            let charges = std::mem::take(&mut ctx.failure_charges);
            let reserved = std::mem::take(&mut ctx.reserved);
            let held = now.duration_since(ctx.charged);
            self.shared.limiter.refund(&charges, reserved, held).await;
        }
        ctx.identity()
            .in_span(|| access_log::write(&self.shared.traffic, session, error, ctx, now));
        if error.is_none() && session.downstream_session.is_http2() {
            // A stream that ends while its request is still coming is reset behind the answer. RFC 9113 §8.1 allows
            // that, and clients (curl 7.88) take the whole answer for lost. `DRAIN_TIMEOUT` bounds this.
            drop(Box::pin(session.downstream_session.drain_request_body()).await);
        }
        if error.is_some() {
            // Pingora drops the connection without closing it in order: the client could lose the answer.
            session.downstream_session.shutdown().await;
        }
    }
}
