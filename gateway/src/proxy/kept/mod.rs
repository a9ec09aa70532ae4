//! Answers that are kept: which request may be given one, and which answer becomes one.

mod ask;
mod bring;

pub(super) use ask::begin_change;
pub(super) use bring::{begin, collect, count, examine};

use std::time::Instant;

use http::{HeaderValue, Method, StatusCode, header};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use policy::{Action, CacheKey};

use super::context::RequestContext;
use super::upstream::count_fallback;
use super::{answer, request};
use crate::cache::{Answer, Fill, Found, KeyHash, Leader, Mark, Subject, Subjects, Wanted, names_tag};
use crate::metrics::METRICS;
use crate::server::Shared;
use ask::{Asks, asks, key, subjects};
use bring::Coming;

/// What a request on a route with `cache` came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Hit,
    /// Another request brought the answer.
    Collapsed,
    /// Given after its time, because its upstream is left alone.
    Stale,
    Miss,
    /// The client wants an answer that is made for it.
    New,
    /// Neither looked for nor kept.
    Bypass,
}

impl Outcome {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Collapsed => "collapsed",
            Self::Stale => "stale",
            Self::Miss => "miss",
            Self::New => "new",
            Self::Bypass => "bypass",
        }
    }

    /// `Cache-Status` (RFC 9211).
    const fn status(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Hit => "portico; hit",
            Self::Collapsed => "portico; fwd=miss; collapsed",
            Self::Stale => "portico; hit; detail=stale",
            Self::Miss => "portico; fwd=miss",
            Self::New => "portico; fwd=request",
            Self::Bypass => "portico; fwd=bypass",
        })
    }
}

/// What a request on a route with `cache` is about.
pub(crate) struct Kept {
    kept: policy::Cache,
    key: KeyHash,
    request: Subject,
    pub(super) outcome: Outcome,
    /// How what the answer depends on stood before it was asked for; without it, the answer is not kept.
    mark: Option<Mark>,
    leader: Option<Box<Leader>>,
    coming: Option<Coming>,
    fill: Option<Fill>,
}

impl Kept {
    /// Whether the answer could be given to others: then the upstream is told nothing that is not in the key.
    pub(super) fn is_for_all(&self) -> bool {
        self.kept.key == CacheKey::Public && self.mark.is_some()
    }
}

/// Answers from what is kept, or waits for what is coming. Whether the request is answered; if not, it goes to its
/// upstream, and what comes back may be kept.
///
/// # Errors
/// Without a permit, and when the client is gone.
pub(super) async fn look(
    shared: &Shared,
    session: &mut Session,
    ctx: &mut RequestContext,
    kept: policy::Cache,
) -> Result<bool> {
    let asked = asks(&session.req_header().headers);
    let is_get = session.req_header().method == Method::GET;
    let key = key(session, ctx, kept.key)?;
    let subjects = subjects(shared, ctx, shared.cache.subject(key.bytes()));
    let mut state = Kept {
        kept,
        key,
        request: subjects.request,
        outcome: Outcome::Miss,
        mark: None,
        leader: None,
        coming: None,
        fill: None,
    };
    let found = match asked {
        Asks::Bypass => {
            state.outcome = Outcome::Bypass;
            Found::Nothing
        }
        Asks::New => {
            state.outcome = Outcome::New;
            state.mark = shared.cache.mark(&subjects).filter(|_| is_get);
            Found::Nothing
        }
        Asks::Any | Asks::Conditional => {
            let may_wait = is_get && matches!(asked, Asks::Any);
            find(shared, session, ctx, (key, subjects), may_wait).await
        }
    };
    match found {
        Found::Answer(answer, has_waited) => {
            state.outcome = if has_waited {
                Outcome::Collapsed
            } else {
                Outcome::Hit
            };
            ctx.kept = Some(Box::new(state));
            give(session, ctx, &answer).await?;
            return Ok(true);
        }
        Found::Lead(leader, mark) => {
            state.leader = Some(leader);
            state.mark = Some(mark);
        }
        Found::Nothing => {}
    }
    ctx.kept = Some(Box::new(state));
    Ok(false)
}

async fn find(
    shared: &Shared,
    session: &Session,
    ctx: &mut RequestContext,
    (key, subjects): (KeyHash, Subjects),
    may_wait: bool,
) -> Found {
    let Some(timeouts) = ctx.permit_at_end().and_then(policy::Permit::timeouts) else {
        return Found::Nothing;
    };
    let now = Instant::now();
    let deadline = if may_wait {
        // What is waited for is part of the exchange.
        let started = *ctx.upstream_started.get_or_insert(now);
        started.checked_add(timeouts.total).unwrap_or(now)
    } else {
        now
    };
    let wanted = Wanted {
        key,
        headers: &session.req_header().headers,
        subjects,
        patience: timeouts.read,
        deadline,
    };
    shared.cache.find(&wanted).await
}

/// Writes an answer that is kept.
async fn give(session: &mut Session, ctx: &RequestContext, kept: &Answer) -> Result<()> {
    let request = &session.req_header().headers;
    let tag = request::text(&kept.headers, &header::ETAG);
    let is_known = request::text(request, &header::IF_NONE_MATCH)
        .zip(tag)
        .is_some_and(|(field, tag)| names_tag(field, tag));
    let status = if is_known {
        StatusCode::NOT_MODIFIED
    } else {
        StatusCode::OK
    };
    let room = kept.headers.len().saturating_add(16);
    let mut response = ResponseHeader::build_no_case(status, Some(room))?;
    for (name, value) in &kept.headers {
        response.append_header(name, value)?;
    }
    answer::set_policy_headers(&mut response, ctx)?;
    tell(&mut response, ctx)?;
    let age = kept.age.saturating_add(kept.came.elapsed()).as_secs();
    response.insert_header(header::AGE, age)?;
    if is_known {
        response.remove_header(&header::CONTENT_TYPE);
        response.remove_header(&header::CONTENT_ENCODING);
    } else {
        response.insert_header(header::CONTENT_LENGTH, kept.body.len())?;
    }
    let silent = is_known || session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(response), silent).await?;
    let body = (!silent).then(|| kept.body.clone());
    session.write_response_body(body, true).await
}

/// Says what became of the request.
///
/// # Errors
/// When the field cannot be written, which never happens.
pub(super) fn tell(response: &mut ResponseHeader, ctx: &RequestContext) -> Result<()> {
    if let Some(kept) = &ctx.kept {
        response.append_header("Cache-Status", kept.outcome.status())?;
    }
    Ok(())
}

/// Gives what was kept when its upstream is left alone (EDG-12). Whether there was something.
pub(super) async fn give_stale(shared: &Shared, session: &mut Session, ctx: &mut RequestContext) -> bool {
    let allows = match ctx.permit_at_end().map(policy::Permit::action) {
        Some(Action::Upstream(upstream)) => {
            let fallback = upstream.breaker.as_ref().and_then(|it| it.fallback.as_ref());
            fallback.is_some_and(|fallback| fallback.stale_for.is_some())
        }
        _ => false,
    };
    let Some(kept) = ctx
        .kept
        .as_mut()
        .filter(|kept| allows && kept.outcome != Outcome::Bypass)
    else {
        return false;
    };
    let Some(found) = shared.cache.find_stale(&kept.key, &session.req_header().headers) else {
        return false;
    };
    kept.outcome = Outcome::Stale;
    count_fallback(ctx, "kept");
    if let Err(error) = give(session, ctx, &found).await {
        tracing::debug!(%error, "the client went away before its answer");
    }
    true
}

/// Nothing more will come: whoever waits for it need not wait until this client has taken its answer or an error.
pub(super) fn end(ctx: &mut RequestContext) {
    if let Some(kept) = &mut ctx.kept {
        kept.leader = None;
        kept.fill = None;
    }
}

/// Counts the request.
pub(super) fn report(ctx: &RequestContext) {
    if let (Some(kept), Some(route)) = (&ctx.kept, &ctx.route) {
        METRICS
            .cache_requests
            .with_label_values(&[route.name.as_str(), kept.outcome.as_str()])
            .inc();
    }
}
