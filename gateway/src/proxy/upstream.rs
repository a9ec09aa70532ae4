//! The way to the upstream: where, how long, and whether a second attempt is allowed.

use std::time::{Duration, Instant};

use http::Method;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result, RetryType};
use policy::Action;

use super::context::RequestContext;

/// The peer of the permitted upstream, with the timeouts of the route.
///
/// # Errors
/// Without a permit, and when the permit does not lead to an upstream: both are bugs of ours, and end as 500.
pub(super) fn peer(ctx: &mut RequestContext) -> Result<Box<HttpPeer>> {
    let permit = ctx.permitted()?;
    let (Action::Upstream(upstream), Some(timeouts)) = (permit.action(), permit.timeouts()) else {
        return Err(Error::explain(
            ErrorType::InternalError,
            "the permit leads to no upstream",
        ));
    };
    let Some(template) = ctx.snapshot.peer(upstream) else {
        return Err(Error::explain(
            ErrorType::InternalError,
            "the policy has no such upstream",
        ));
    };
    let mut peer = Box::new(template.clone());
    peer.options.connection_timeout = Some(timeouts.connect);
    peer.options.total_connection_timeout = Some(timeouts.connect);
    peer.options.read_timeout = Some(timeouts.read.min(timeouts.total));
    peer.options.write_timeout = Some(timeouts.read.min(timeouts.total));
    ctx.upstream_connected = false;
    ctx.upstream_started.get_or_insert_with(Instant::now);
    Ok(peer)
}

/// Ends an exchange that takes longer than the route allows; between two reads pingora watches by itself.
///
/// # Errors
/// `ReadTimedout` from the upstream.
pub(super) fn check_total_time(ctx: &RequestContext) -> Result<()> {
    let total = ctx
        .permit_at_end()
        .and_then(policy::Permit::timeouts)
        .map_or(Duration::MAX, |timeouts| timeouts.total);
    if ctx
        .upstream_started
        .is_some_and(|started| started.elapsed() > total)
    {
        return Err(Error::new_up(ErrorType::ReadTimedout));
    }
    Ok(())
}

/// Only a request that changes nothing is sent a second time, and only when a kept connection died under it before any
/// answer. A POST is never sent twice.
pub(super) fn decide_retry(
    session: &Session,
    mut error: Box<Error>,
    ctx: &RequestContext,
    client_reused: bool,
) -> Box<Error> {
    let safe = matches!(session.req_header().method, Method::GET | Method::HEAD);
    let unanswered = ctx.upstream_status.is_none() && session.response_written().is_none();
    let died = matches!(error.retry, RetryType::ReusedOnly | RetryType::Decided(true));
    let replayable = !session.as_ref().retry_buffer_truncated();
    error.set_retry(safe && unanswered && died && client_reused && replayable);
    error
}
