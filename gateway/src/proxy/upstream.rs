//! The way to the upstream: which address, how long, and whether another attempt is allowed.

use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode, header};
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result, RetryType};
use policy::{Action, Timeouts};
use tokio::time::sleep_until;

use super::context::RequestContext;
use crate::metrics::METRICS;
use crate::upstreams::{Attempt, NO_IDENTITY, Refused, jittered};

/// The longest pause before the first further attempt; it doubles with each.
const PAUSE: Duration = Duration::from_millis(25);

/// The service is left alone for a while.
pub(super) const BREAKER_OPEN: ErrorType = ErrorType::Custom("BreakerOpen");
/// The service could not be verified, or refused the gateway.
pub(super) const UPSTREAM_TLS: ErrorType = ErrorType::Custom("UpstreamTls");
/// The service answered that it cannot serve, and the request may be sent again.
const TRY_ANOTHER: ErrorType = ErrorType::Custom("TryAnother");

/// Chooses an address of the permitted upstream; the timeouts of the route, as far as there is time left for them.
///
/// # Errors
/// When the service is left alone, has no address, or no time is left. Without a permit, and when the permit does not
/// lead to an upstream: both are bugs of ours, and end as 500.
pub(super) async fn begin(ctx: &mut RequestContext) -> Result<Timeouts> {
    let permit = ctx.permitted()?;
    let (Action::Upstream(upstream), Some(timeouts)) = (permit.action(), permit.timeouts()) else {
        return Err(Error::explain(
            ErrorType::InternalError,
            "the permit leads to no upstream",
        ));
    };
    let Some(pool) = ctx.snapshot.pool(upstream).cloned() else {
        return Err(Error::explain(
            ErrorType::InternalError,
            "the policy has no such upstream",
        ));
    };
    let mut now = Instant::now();
    let started = *ctx.upstream_started.get_or_insert(now);
    if !ctx.failed.is_empty() {
        pause(ctx.further).await;
        now = Instant::now();
    } else {
        pool.count_request();
        if pool.wait_for_addresses(timeouts.connect).await {
            now = Instant::now();
        }
    }
    let left = timeouts.total.saturating_sub(now.duration_since(started));
    if left.is_zero() {
        return Err(Error::new_up(ErrorType::ReadTimedout));
    }
    let attempt = pool.begin(&ctx.failed).map_err(|refused| match refused {
        Refused::Open(time) => {
            ctx.breaker_open = Some(time);
            Error::new_up(BREAKER_OPEN)
        }
        Refused::Nowhere => Error::new_up(ErrorType::ConnectNoRoute),
    })?;
    ctx.attempts = ctx.attempts.saturating_add(1);
    ctx.address = Some(attempt.endpoint().clone());
    ctx.attempt = Some(attempt);
    ctx.phases.begin_attempt(now);
    ctx.upstream_connected = false;
    Ok(Timeouts {
        connect: timeouts.connect.min(left),
        read: timeouts.read.min(left),
        total: left,
    })
}

/// The peer of the address that was chosen.
///
/// # Errors
/// As [`begin`].
pub(super) async fn peer(ctx: &mut RequestContext) -> Result<Box<HttpPeer>> {
    let timeouts = begin(ctx).await?;
    let Some(attempt) = &ctx.attempt else {
        return Err(Error::new_in(ErrorType::InternalError));
    };
    let deadline = Instant::now().checked_add(timeouts.total);
    let Some((mut peer, way)) = attempt.endpoint().peer(timeouts.connect, deadline) else {
        fail_attempt(ctx);
        return Err(Error::explain(UPSTREAM_TLS, NO_IDENTITY).into_up());
    };
    peer.options.read_timeout = Some(timeouts.read);
    peer.options.write_timeout = Some(timeouts.read);
    ctx.way = Some(way);
    Ok(peer)
}

/// Attempts of many requests that failed in the same moment do not come in the same moment again.
async fn pause(further: u32) {
    let pause = jittered(longest_pause(further));
    if !pause.is_zero() {
        let now = tokio::time::Instant::now();
        sleep_until(now.checked_add(pause).unwrap_or(now)).await;
    }
}

/// How long a request may have to wait that has had so many further attempts, the one at hand among them.
fn longest_pause(further: u32) -> Duration {
    // A kept connection that had died says nothing of the service.
    let Some(doublings) = further.checked_sub(1) else {
        return Duration::ZERO;
    };
    PAUSE.saturating_mul(1_u32.wrapping_shl(doublings))
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

/// Takes note of an answer that has begun.
///
/// # Errors
/// When it only says that the service cannot serve, and the request may be sent again.
pub(super) fn answered(
    session: &Session,
    ctx: &mut RequestContext,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<()> {
    let said = Said::by(status, headers);
    if said != Said::Served && is_safe(session) && is_replayable(session) && may_retry(ctx, "status") {
        end_attempt(ctx, said);
        return Err(Error::new_up(TRY_ANOTHER));
    }
    note_answer(ctx, status, headers);
    Ok(())
}

/// Takes note of an answer that the client gets.
pub(super) fn note_answer(ctx: &mut RequestContext, status: StatusCode, headers: &HeaderMap) {
    match Said::by(status, headers) {
        said @ (Said::TimedOut | Said::Failed) => end_attempt(ctx, said),
        Said::Served | Said::NotNow => {
            if let Some(attempt) = &mut ctx.attempt {
                attempt.answered();
            }
        }
    }
    ctx.upstream_answered(status);
}

/// What an answer, or the want of one, says of the whole service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// It speaks of one request: whoever can provoke a 500 must not be able to take the service away from others.
    Served,
    /// The service lives and asks for time (RFC 9110 §15.6.4), which a flood of log-ins can provoke. Another address may
    /// have it.
    NotNow,
    /// Something took too long: the service or this request.
    TimedOut,
    /// The service cannot serve.
    Failed,
}

impl Said {
    fn by(status: StatusCode, headers: &HeaderMap) -> Self {
        match status {
            StatusCode::SERVICE_UNAVAILABLE if headers.contains_key(header::RETRY_AFTER) => Self::NotNow,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Self::Failed,
            StatusCode::GATEWAY_TIMEOUT => Self::TimedOut,
            _ => Self::Served,
        }
    }

    /// Of an exchange that broke or took too long.
    fn by_error(error: &Error, ctx: &RequestContext) -> Self {
        match error.etype() {
            // The answer had begun: a client that takes it slowly makes it as late as a service that is slow.
            ErrorType::ReadTimedout | ErrorType::WriteTimedout
                if ctx.upstream_status.is_some() && check_total_time(ctx).is_err() =>
            {
                Self::NotNow
            }
            ErrorType::ReadTimedout | ErrorType::WriteTimedout => Self::TimedOut,
            _ => Self::Failed,
        }
    }
}

/// The request is over. An attempt that is still open was answered whole, or nobody knows.
pub(super) fn finish(ctx: &mut RequestContext, error: Option<&Error>, now: Instant) {
    if let Some(way) = ctx.way.take()
        && error.is_none()
    {
        way.rest(now);
    }
    if let Some(attempt) = ctx.attempt.take()
        && error.is_none()
        && ctx.upstream_status.is_some()
    {
        attempt.succeeded();
    }
}

/// Nothing was sent: any request may go to another address.
pub(super) fn decide_after_connecting(
    session: &Session,
    mut error: Box<Error>,
    ctx: &mut RequestContext,
) -> Box<Error> {
    note_tls_failure(ctx, &error);
    let again = is_replayable(session) && may_retry(ctx, "connect");
    fail_attempt(ctx);
    error.set_retry(again);
    error
}

/// Only a request that changes nothing is sent a second time, and only before any answer. A POST is never sent twice.
pub(super) fn decide_retry(
    session: &mut Session,
    mut error: Box<Error>,
    ctx: &mut RequestContext,
    client_reused: bool,
) -> Box<Error> {
    let client_reused = client_reused || has_rested(ctx);
    if *error.etype() == TRY_ANOTHER {
        error.set_retry(true);
        return error;
    }
    if *error.esource() == ErrorSource::Upstream
        && *error.etype() == ErrorType::ReadError
        && check_total_time(ctx).is_err()
    {
        // Its connection was cut because of that (`upstreams::resting`), and may as well have been.
        error.etype = ErrorType::ReadTimedout;
        error.set_retry(false);
    }
    if !is_of_upstream(session, &error) {
        error.set_retry(false);
        return error;
    }
    note_tls_failure(ctx, &error);
    let unanswered = ctx.upstream_status.is_none() && session.response_written().is_none();
    let may_repeat = is_safe(session) && unanswered && is_replayable(session);
    let died = matches!(error.retry, RetryType::ReusedOnly | RetryType::Decided(true));
    let again = if client_reused && died {
        // That a kept connection had died says nothing of the service, and the next one is new or as old.
        if may_repeat {
            count_retry(ctx, "reused");
        }
        let attempt = ctx.attempt.take();
        ctx.failed
            .extend(attempt.map(|attempt| attempt.endpoint().clone()));
        may_repeat
    } else {
        let again = may_repeat && may_retry(ctx, "broken");
        let said = Said::by_error(&error, ctx);
        end_attempt(ctx, said);
        again
    };
    error.set_retry(again);
    error
}

/// Whether the connection had served a request before, as far as pingora does not know it.
pub(super) fn has_rested(ctx: &RequestContext) -> bool {
    ctx.way.as_ref().is_some_and(|way| way.has_rested())
}

/// With TLS 1.3 a service that refuses the gateway's certificate says so in place of an answer.
fn note_tls_failure(ctx: &mut RequestContext, error: &Error) {
    let endpoint = ctx.attempt.as_ref().map(Attempt::endpoint);
    if endpoint.is_some_and(|endpoint| endpoint.note_tls_failure(&error.to_string())) {
        ctx.upstream_tls_failed = true;
    }
}

/// Whether the service failed, and not the client: one that waits for a body is not the one that is slow.
fn is_of_upstream(session: &mut Session, error: &Error) -> bool {
    let waits_for_body = *error.etype() == ErrorType::ReadTimedout && !session.is_body_done();
    *error.esource() == ErrorSource::Upstream && !waits_for_body
}

fn is_safe(session: &Session) -> bool {
    matches!(session.req_header().method, Method::GET | Method::HEAD)
}

fn is_replayable(session: &Session) -> bool {
    !session.as_ref().retry_buffer_truncated()
}

fn may_retry(ctx: &mut RequestContext, reason: &'static str) -> bool {
    let allowed = ctx
        .attempt
        .as_ref()
        .is_some_and(|attempt| attempt.pool().may_retry(ctx.further));
    if allowed {
        ctx.further = ctx.further.saturating_add(1);
        count_retry(ctx, reason);
    }
    allowed
}

fn count_retry(ctx: &RequestContext, reason: &'static str) {
    if let Some(attempt) = &ctx.attempt {
        let upstream = attempt.pool().upstream();
        METRICS
            .upstream_retries
            .with_label_values(&[upstream.name.as_str(), reason])
            .inc();
    }
}

/// The address at hand failed the request.
pub(super) fn fail_attempt(ctx: &mut RequestContext) {
    end_attempt(ctx, Said::Failed);
}

/// The address at hand did not answer in time.
pub(super) fn time_out_attempt(ctx: &mut RequestContext) {
    end_attempt(ctx, Said::TimedOut);
}

/// The request is done with the address at hand.
fn end_attempt(ctx: &mut RequestContext, said: Said) {
    if let Some(attempt) = ctx.attempt.take() {
        ctx.failed.push(match said {
            Said::Served | Said::NotNow => attempt.declined(),
            Said::TimedOut => attempt.timed_out(),
            Said::Failed => attempt.failed(),
        });
    }
}

/// The service is left alone, and the client was given something in its place.
pub(super) fn count_fallback(ctx: &RequestContext, answer: &'static str) {
    if let Some(Action::Upstream(upstream)) = ctx.permit_at_end().map(policy::Permit::action) {
        METRICS
            .upstream_fallbacks
            .with_label_values(&[upstream.name.as_str(), answer])
            .inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_drawn_below() {
        let longest = [0, 1, 2, 3].map(|further| longest_pause(further).as_millis());
        assert_eq!(longest, [0, 25, 50, 100]);
        assert_eq!(jittered(Duration::ZERO), Duration::ZERO);
        let drawn: Vec<Duration> = (0..1_000).map(|_| jittered(PAUSE)).collect();
        assert!(drawn.iter().all(|pause| *pause < PAUSE));
        // Not one of the five parts of it is drawn by less than a tenth.
        for part in 0..5 {
            let range = PAUSE / 5 * part..PAUSE / 5 * (part + 1);
            let count = drawn.iter().filter(|pause| range.contains(*pause)).count();
            assert!(count > 100, "{count} of 1,000 in {range:?}");
        }
    }
}
