//! One line and one count for every request. No token, no query, no body, no header of the client.

use std::time::{Duration, Instant};

use pingora::Error;
use pingora::proxy::Session;

use super::answer;
use super::context::{RequestContext, Verdict};
use crate::fleet::{Answered, Traffic};
use crate::metrics::{METRICS, NO_ROUTE, method_label};

/// The client left before it was answered: nothing was sent, and this stands in the log (as nginx has it).
pub(super) const CLIENT_GONE: u16 = 499;

/// Writes the line and counts a request that ended `now`.
pub(super) fn write(
    traffic: &Traffic,
    session: &Session,
    error: Option<&Error>,
    ctx: &RequestContext,
    now: Instant,
) {
    let answered = session
        .response_written()
        .filter(|response| answer::is_final(response));
    let status = answered.map_or(CLIENT_GONE, |response| response.status.as_u16());
    let route = ctx.route.as_ref().map_or(NO_ROUTE, |route| route.name.as_str());
    let method = method_label(session.req_header().method.as_str());
    let duration = now.duration_since(ctx.started);
    METRICS
        .requests
        .with_label_values(&[route, method, status_text(status).as_str()])
        .inc();
    METRICS
        .request_seconds
        .with_label_values(&[route])
        .observe(duration.as_secs_f64());
    traffic.answered(Answered {
        status,
        is_denied: ctx.verdict == Verdict::Denied,
        is_own_failure: status >= 500 && is_own(ctx),
        took: duration,
    });
    ctx.phases.observe();
    let permit = ctx.permit_at_end();
    if let (Some(time), Some(policy::Action::Upstream(upstream))) =
        (ctx.upstream_time, permit.map(policy::Permit::action))
    {
        METRICS
            .upstream_seconds
            .with_label_values(&[upstream.name.as_str()])
            .observe(time.as_secs_f64());
    }
    let persons = ctx.personal_data();
    let identity = ctx.identity();
    identity.finish(|| format!("{method} {route}"), status >= 500);
    tracing::info!(
        target: "access",
        // As a field it is text; behind the fields it would be formatted.
        message = "request",
        request_id = identity.request_id(),
        trace_id = identity.names.trace_id(),
        listener = ctx.connection.as_ref().map(|connection| connection.entrance.label.as_str()),
        client = ctx.personal_client().map(|client| client.told(persons)).as_deref(),
        method,
        path = ctx.personal_path().told(persons),
        route,
        decision = ctx.verdict.as_str(),
        rule = ctx.rule.as_ref().map(policy::Rule::as_str),
        reason = ctx.reason,
        bundle = ctx.snapshot.plan.short_hash(),
        status,
        duration_us = micros(duration),
        head_us = ctx.phases.head.map(micros),
        evaluate_us = ctx.phases.evaluate.map(micros),
        store_us = ctx.phases.store.map(micros),
        connect_us = ctx.phases.connect.map(micros),
        upstream_us = ctx.upstream_time.map(micros),
        upstream = ctx.address.as_ref().map(|address| address.label()),
        attempts = ctx.address.as_ref().map(|_| ctx.attempts),
        received_bytes = session.body_bytes_read(),
        sent_bytes = session.body_bytes_sent(),
        cache = ctx.kept.as_ref().map(|kept| kept.outcome.as_str()),
        would_deny = (!ctx.would_deny.is_empty()).then(|| ctx.would_deny.join(", ")),
        subject = ctx.personal_subject().and_then(|subject| subject.told(persons)),
        client_certificate = ctx.personal_certificate().and_then(|name| name.told(persons)),
        interrupted = error.is_some() && answered.is_some(),
    );
}

/// Whether no service, no store and no control plane had a part in it: then the policy or the gateway is to blame.
fn is_own(ctx: &RequestContext) -> bool {
    match ctx.verdict {
        Verdict::Permitted => ctx.reason == Some("internal"),
        Verdict::Denied => !matches!(
            ctx.reason,
            Some("stale_revocations" | "temporary-reduced-capacity")
        ),
        // A version of HTTP that nobody here speaks, for one.
        Verdict::Refused => false,
        Verdict::Undecided | Verdict::Answered => true,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The status as a label; pingora passes on what an upstream invents, so only three digits count.
fn status_text(status: u16) -> http::StatusCode {
    http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR)
}
