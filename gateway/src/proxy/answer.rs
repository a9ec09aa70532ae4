//! Every answer that leaves: denials, redirects, failures of the upstream, and what is added to the upstream's own.

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::proxy::{FailToProxy, Session};
use pingora::{Error, ErrorSource, ErrorType, Result};
use policy::{Action, Answer, Denial, DenialKind, Phase, RouteAuth, Scheme};
use problem::{Problem, ProblemType, catalogue};

use super::access_log::CLIENT_GONE;
use super::context::{RequestContext, Verdict};
use super::upstream::{BREAKER_OPEN, UPSTREAM_TLS, count_fallback};
use crate::connection::framing::{EXPECTATION_FAILED, Refusal};
use crate::identity::{REQUEST_ID, TRACE_RESPONSE};
use crate::metrics::METRICS;

/// Seconds after which a client may try again when a service is down.
const RETRY_DOWN_S: u64 = 2;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// Where answers say how long they may be kept.
const LIFETIME: [HeaderName; 4] = [
    header::AGE,
    header::CACHE_CONTROL,
    header::EXPIRES,
    header::PRAGMA,
];

/// Pingora's name for a chunk that is none; it keeps the constant to itself.
const INVALID_CHUNK: &str = "InvalidChunk";

/// The headers of the policy and the names of the request, on every answer whoever made it.
///
/// # Errors
/// When a header cannot be written, which a compiled policy never causes.
pub(super) fn set_policy_headers(response: &mut ResponseHeader, ctx: &RequestContext) -> Result<()> {
    let status = response.status;
    with_fields(response, |fields| set_policy_fields(fields, status, ctx))
}

fn set_policy_fields(fields: &mut HeaderMap, status: StatusCode, ctx: &RequestContext) {
    let scheme = ctx
        .connection
        .as_ref()
        .map_or(Scheme::Http, |connection| connection.scheme());
    let rules = ctx
        .snapshot
        .plan
        .response_headers(ctx.route.as_deref(), scheme, ctx.origin.as_deref());
    let identity = ctx.identity();
    let is_kept_by_us = ctx.route.as_ref().is_some_and(|route| route.cache.is_some());
    let others = std::mem::replace(fields, rules.set);
    // How long clients keep an answer is for the policy, not for whoever is kept by us.
    let not_for_clients: &[HeaderName] = if is_kept_by_us { &LIFETIME } else { &[] };
    // Of a field with several values, the first one alone comes with its name.
    let mut at_hand = None;
    for (name, value) in others {
        if let Some(name) = name {
            let is_dropped = rules.remove.contains(&name) || not_for_clients.contains(&name);
            at_hand = (!is_dropped && !fields.contains_key(&name)).then_some(name);
        }
        if let Some(name) = &at_hand {
            fields.append(name, value);
        }
    }
    if is_kept_by_us && !fields.contains_key(header::CACHE_CONTROL) {
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    for (name, value) in rules.append {
        fields.append(name, value);
    }
    if status == StatusCode::NO_CONTENT {
        // Some readers would wait for a body (RFC 9110 §8.6).
        fields.remove(header::CONTENT_LENGTH);
    }
    fields.insert(REQUEST_ID, of_one_answer(identity.names.request_id_field()));
    fields.insert(TRACE_RESPONSE, of_one_answer(identity.names.call_field()));
    if let Some((limit, policy)) = &ctx.limit_fields
        && !status.is_redirection()
    {
        fields.insert(RATE_LIMIT, of_one_answer(limit));
        fields.insert(RATE_LIMIT_POLICY, policy.clone());
    }
}

/// A value that comes once. HTTP/2 keeps it out of the table of its connection (RFC 7541 §7.1.3), from which it would push
/// the values that every answer has.
fn of_one_answer(value: &HeaderValue) -> HeaderValue {
    let mut value = value.clone();
    value.set_sensitive(true);
    value
}

/// Changes the fields of an answer in place. Pingora's own way reads each name anew and keeps how it was spelled beside
/// it, for every field twice the work; field names have no case (RFC 9110 §5.1), and leave in lower case.
fn with_fields(response: &mut ResponseHeader, change: impl FnOnce(&mut HeaderMap)) -> Result<()> {
    let empty = ResponseHeader::build_no_case(response.status, Some(0))?;
    let taken = std::mem::replace(response, empty);
    let usual = taken.status.canonical_reason();
    let reason = taken.get_reason_phrase().filter(|reason| Some(*reason) != usual);
    let reason = reason.map(str::to_owned);
    let mut parts = Parts::from(taken);
    change(&mut parts.headers);
    *response = ResponseHeader::from(parts);
    reason.map_or(Ok(()), |reason| response.set_reason_phrase(Some(&reason)))
}

/// Writes a whole answer of ours.
///
/// # Errors
/// When the client is gone.
pub(super) async fn write(
    session: &mut Session,
    ctx: &RequestContext,
    status: StatusCode,
    headers: &[(HeaderName, HeaderValue)],
    body: Bytes,
) -> Result<()> {
    let mut response = ResponseHeader::build_no_case(status, Some(headers.len().saturating_add(16)))?;
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    with_fields(&mut response, |fields| {
        // The policy first: it removes what an upstream must not say about origins, which is ours to say.
        set_policy_fields(fields, status, ctx);
        for (name, value) in headers {
            if name == header::VARY {
                fields.append(name, value.clone());
            } else {
                fields.insert(name, value.clone());
            }
        }
        if !bodiless {
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
    })?;
    let silent = bodiless || body.is_empty() || session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(response), silent).await?;
    session.write_response_body((!silent).then_some(body), true).await
}

/// Writes a problem document (RFC 9457).
///
/// # Errors
/// When the client is gone.
pub(super) async fn write_problem(
    session: &mut Session,
    ctx: &RequestContext,
    problem: Problem,
) -> Result<()> {
    let body = Bytes::from(problem.to_json(Some(ctx.identity().request_id())));
    let mut headers: Vec<_> = problem
        .headers()
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    headers.push((
        header::CONTENT_TYPE,
        HeaderValue::from_static(problem::CONTENT_TYPE),
    ));
    headers.push((header::CACHE_CONTROL, HeaderValue::from_static("no-store")));
    write(session, ctx, problem.status(), &headers, body).await
}

/// Answers a request that breaks a rule of HTTP, and closes the connection behind it (FR-10).
pub(super) async fn refuse(session: &mut Session, ctx: &mut RequestContext, refusal: Refusal) -> Result<()> {
    ctx.verdict = Verdict::Refused;
    ctx.reason = Some(refusal.rule);
    METRICS.refused_heads.with_label_values(&[refusal.rule]).inc();
    session.set_keepalive(None);
    write_problem(session, ctx, refusal.problem()).await
}

/// Answers a request that the policy denies.
pub(super) async fn deny(session: &mut Session, ctx: &mut RequestContext, denial: Denial) -> Result<()> {
    ctx.verdict = Verdict::Denied;
    ctx.reason = Some(denial.reason);
    let auth = ctx.route.as_ref().map(|route| &route.auth);
    if let (Phase::Authentication, Some(RouteAuth::Provider(provider))) = (denial.phase, auth) {
        METRICS.token(&provider.name, denial.reason).inc();
    }
    let mut problem = Problem::new(problem_type(denial.kind)).detail(denial.detail);
    if let Some(seconds) = denial.retry_after_s {
        problem = problem.retry_after(seconds);
    }
    for error in denial.errors {
        problem = problem.field_error(error.pointer, error.code, error.detail);
    }
    if !denial.violated_policies.is_empty() {
        problem = problem.member("violated-policies", denial.violated_policies);
    }
    for (name, value) in denial.headers {
        // `retry_after` has set it, equal to the member.
        if name != header::RETRY_AFTER || denial.retry_after_s.is_none() {
            problem = problem.header(name, value);
        }
    }
    ctx.rule = Some(denial.rule);
    write_problem(session, ctx, problem).await
}

/// Answers a preflight or a redirect.
pub(super) async fn respond(session: &mut Session, ctx: &mut RequestContext, answer: Answer) -> Result<()> {
    ctx.verdict = Verdict::Answered;
    ctx.rule = Some(answer.rule);
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    write(session, ctx, status, &answer.headers, Bytes::new()).await
}

pub(crate) const fn problem_type(kind: DenialKind) -> ProblemType {
    match kind {
        DenialKind::MalformedRequest => catalogue::MALFORMED_REQUEST,
        DenialKind::InvalidRequest => catalogue::INVALID_REQUEST,
        DenialKind::UnsupportedMediaType => catalogue::UNSUPPORTED_MEDIA_TYPE,
        DenialKind::Unauthenticated => catalogue::UNAUTHENTICATED,
        // The core says the same of a scope that it misses; `WWW-Authenticate` has the word of RFC 6750 §3.1.
        DenialKind::InsufficientScope => catalogue::FORBIDDEN,
        DenialKind::HttpsRequired => catalogue::HTTPS_REQUIRED,
        DenialKind::CorsRefused => catalogue::CORS_REFUSED,
        DenialKind::AddressRefused => catalogue::ADDRESS_REFUSED,
        DenialKind::ClientCertificate => catalogue::CLIENT_CERTIFICATE_REQUIRED,
        DenialKind::NotFound => catalogue::NOT_FOUND,
        DenialKind::MethodNotAllowed => catalogue::METHOD_NOT_ALLOWED,
        DenialKind::RequestTimeout => catalogue::REQUEST_TIMEOUT,
        DenialKind::PayloadTooLarge => catalogue::PAYLOAD_TOO_LARGE,
        DenialKind::TargetTooLong => catalogue::TARGET_TOO_LONG,
        DenialKind::MisdirectedRequest => catalogue::MISDIRECTED,
        DenialKind::RateLimited => catalogue::RATE_LIMITED,
        DenialKind::ExpectationFailed => EXPECTATION_FAILED,
        DenialKind::HeadTooLarge => catalogue::HEAD_TOO_LARGE,
        DenialKind::Unavailable => catalogue::UNAVAILABLE,
        DenialKind::ReducedCapacity => catalogue::REDUCED_CAPACITY,
    }
}

/// Whether no other answer can follow; after 101 another protocol is spoken.
pub(super) fn is_final(response: &ResponseHeader) -> bool {
    !response.status.is_informational() || response.status == StatusCode::SWITCHING_PROTOCOLS
}

/// Answers what failed on the way, if anybody is left to read it.
pub(super) async fn fail(session: &mut Session, error: &Error, ctx: &mut RequestContext) -> FailToProxy {
    let (problem, reason) = failure(error, ctx, session.is_body_done());
    ctx.reason = Some(reason);
    let gone = FailToProxy {
        error_code: CLIENT_GONE,
        can_reuse_downstream: false,
    };
    let Some(problem) = problem else { return gone };
    // One that has begun cannot be taken back; the connection is closed in the middle of it.
    if session.response_written().is_some_and(is_final) {
        return gone;
    }
    let status = problem.status().as_u16();
    session.set_keepalive(None);
    if let Err(error) = write_problem(session, ctx, problem).await {
        tracing::debug!(%error, "the client went away before its answer");
    }
    FailToProxy {
        error_code: status,
        can_reuse_downstream: false,
    }
}

/// What a failure is to the client, and its word in the log.
fn failure(error: &Error, ctx: &RequestContext, body_done: bool) -> (Option<Problem>, &'static str) {
    match (error.esource(), error.etype()) {
        (_, ErrorType::HTTPStatus(413)) => {
            (Some(Problem::new(catalogue::PAYLOAD_TOO_LARGE)), "body_too_large")
        }
        (_, ErrorType::HTTPStatus(408)) | (ErrorSource::Downstream, ErrorType::ReadTimedout) => {
            (Some(Problem::new(catalogue::REQUEST_TIMEOUT)), "body_too_slow")
        }
        // An upstream that still waits for the body is not the one that is slow.
        (ErrorSource::Upstream, ErrorType::ReadTimedout) if !body_done => {
            (Some(Problem::new(catalogue::REQUEST_TIMEOUT)), "body_too_slow")
        }
        (ErrorSource::Downstream, kind)
            if *kind == ErrorType::InvalidHTTPHeader || kind.as_str() == INVALID_CHUNK =>
        {
            (Some(Problem::new(catalogue::MALFORMED_REQUEST)), "malformed_body")
        }
        (ErrorSource::Downstream, _)
            if ctx
                .connection
                .as_ref()
                .is_some_and(|connection| connection.has_broken_body()) =>
        {
            METRICS.refused_heads.with_label_values(&["FR-10"]).inc();
            (Some(Problem::new(catalogue::MALFORMED_REQUEST)), "malformed_body")
        }
        (ErrorSource::Downstream, _) => (None, "client_gone"),
        (ErrorSource::Upstream, kind) if *kind == BREAKER_OPEN => (Some(left_alone(ctx)), "breaker_open"),
        (ErrorSource::Upstream, kind) if !ctx.upstream_connected => (
            Some(Problem::new(catalogue::UNAVAILABLE).retry_after(RETRY_DOWN_S)),
            match ctx.upstream_tls_failed || *kind == UPSTREAM_TLS {
                true => "upstream_tls",
                false => "upstream_down",
            },
        ),
        (ErrorSource::Upstream, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => (
            Some(Problem::new(catalogue::UPSTREAM_TIMEOUT).retry_after(RETRY_DOWN_S)),
            "upstream_timeout",
        ),
        (ErrorSource::Upstream, _) => (
            Some(Problem::new(catalogue::UPSTREAM_UNAVAILABLE).retry_after(RETRY_DOWN_S)),
            match ctx.upstream_tls_failed {
                true => "upstream_tls",
                false => "upstream_broke",
            },
        ),
        (ErrorSource::Internal | ErrorSource::Unset, _) => {
            tracing::error!(%error, "a request failed in the gateway");
            (Some(Problem::new(catalogue::INTERNAL)), "internal")
        }
    }
}

/// What the policy says while a service is left alone.
fn left_alone(ctx: &RequestContext) -> Problem {
    count_fallback(ctx, "problem");
    let fallback = match ctx.permit_at_end().map(policy::Permit::action) {
        Some(Action::Upstream(upstream)) => upstream
            .breaker
            .as_ref()
            .and_then(|breaker| breaker.fallback.clone()),
        Some(Action::Serve(_)) | None => None,
    };
    let problem = match fallback {
        Some(fallback) => {
            let kind = catalogue::UNAVAILABLE;
            Problem::new(ProblemType::new(kind.slug(), fallback.status, kind.title())).detail(fallback.detail)
        }
        None => Problem::new(catalogue::UNAVAILABLE),
    };
    let open = ctx.breaker_open.unwrap_or_default();
    problem.retry_after(open.as_secs().saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::framing::{TOO_MANY_AT_ONCE, VERSION_NOT_SUPPORTED};
    use crate::proxy::websocket::UPGRADE_REQUIRED;

    #[test]
    fn every_problem_of_the_gateway_is_explained() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
        let page = std::fs::read_to_string(page).unwrap();
        let missing: Vec<_> = catalogue::ALL
            .into_iter()
            .chain([
                EXPECTATION_FAILED,
                TOO_MANY_AT_ONCE,
                UPGRADE_REQUIRED,
                VERSION_NOT_SUPPORTED,
            ])
            .map(|kind| format!("| `{}` | {} |", kind.slug(), kind.status().as_u16()))
            .filter(|row| !page.contains(row))
            .collect();
        assert!(missing.is_empty(), "docs/errors.md has no {missing:?}");
    }
}
