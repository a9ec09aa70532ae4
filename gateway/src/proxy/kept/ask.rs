//! What a request asks for: whether it may be given what is kept, by which key, and what an answer to it depends on.

use http::{HeaderMap, HeaderValue, header};
use pingora::Result;
use pingora::proxy::Session;
use policy::{CacheKey, RouteAuth};

use crate::cache::{Change, Directives, KeyHash, KeyParts, Subject, Subjects};
use crate::proxy::context::RequestContext;
use crate::proxy::{request, upstream_request};
use crate::server::Shared;

/// What a client allows.
pub(super) enum Asks {
    /// Whatever is kept.
    Any,
    /// Only what is kept: an answer to this request is none to others.
    Conditional,
    /// An answer that is made now.
    New,
    /// Nothing of it is to be kept.
    Bypass,
}

pub(super) fn asks(headers: &HeaderMap) -> Asks {
    let is_special = [
        header::RANGE,
        header::IF_RANGE,
        header::IF_MATCH,
        header::IF_UNMODIFIED_SINCE,
        header::COOKIE,
    ];
    let directives = Directives::of(headers);
    if directives.no_store || is_special.iter().any(|name| headers.contains_key(name)) {
        return Asks::Bypass;
    }
    let is_conditional =
        headers.contains_key(header::IF_NONE_MATCH) || headers.contains_key(header::IF_MODIFIED_SINCE);
    let is_pragma = !headers.contains_key(header::CACHE_CONTROL)
        && request::text(headers, &header::PRAGMA).is_some_and(|pragma| pragma.contains("no-cache"));
    match (directives.wants_new() || is_pragma, is_conditional) {
        (true, true) => Asks::Bypass,
        (true, false) => Asks::New,
        (false, true) => Asks::Conditional,
        (false, false) => Asks::Any,
    }
}

/// Everything that the upstream could look at, but for what `Vary` adds.
pub(super) fn key(session: &Session, ctx: &RequestContext, key: CacheKey) -> Result<KeyHash> {
    let permit = ctx.permitted()?;
    let headers = &session.req_header().headers;
    let mut parts = KeyParts::default();
    parts.add(ctx.snapshot.plan.hash().as_bytes());
    parts.add(permit.route().name.as_bytes());
    let host = upstream_request::forwarded_host(request::host(session), ctx.snapshot.plan.hosts());
    parts.add_optional(host.as_ref().map(|host| host.as_bytes()));
    parts.add(permit.canonical_path().as_bytes());
    parts.add_optional(permit.query().map(str::as_bytes));
    parts.add_optional(ctx.coding.map(|coding| coding.as_str().as_bytes()));
    match key {
        CacheKey::Public => {
            for name in &upstream_request::KEYED {
                parts.add_all(headers.get_all(name).iter().map(HeaderValue::as_bytes));
            }
        }
        CacheKey::Principal => {
            let RouteAuth::Provider(provider) = &permit.route().auth else {
                return Err(internal("an answer for nobody"));
            };
            let principal = permit
                .principal()
                .ok_or_else(|| internal("an answer for nobody"))?;
            parts.add(provider.issuer.as_bytes());
            parts.add(principal.subject.as_bytes());
            parts.add_optional(principal.session.as_deref().map(str::as_bytes));
            parts.add_optional(principal.tenant.as_deref().map(str::as_bytes));
            parts.add_optional(permit.client_name().map(str::as_bytes));
            parts.add_all(principal.scopes.iter().map(String::as_bytes));
            // An upstream that is sent the token can look at each claim of it.
            let token = headers.get(header::AUTHORIZATION);
            parts.add_optional(
                token
                    .filter(|_| permit.forwards_authorization())
                    .map(HeaderValue::as_bytes),
            );
        }
    }
    Ok(parts.hash())
}

fn internal(what: &'static str) -> Box<pingora::Error> {
    pingora::Error::explain(pingora::ErrorType::InternalError, what)
}

/// What an answer to this request depends on.
pub(super) fn subjects(shared: &Shared, ctx: &RequestContext, request: Subject) -> Subjects {
    let permit = ctx.permit_at_end();
    let auth = permit.map(|permit| &permit.route().auth);
    let person = match (auth, permit.and_then(policy::Permit::principal)) {
        (Some(RouteAuth::Provider(provider)), Some(principal)) => Some(shared.cache.subject(&(
            "person",
            &provider.issuer,
            &principal.tenant,
            &principal.subject,
        ))),
        _ => None,
    };
    let path = permit.map_or("", policy::Permit::canonical_path);
    Subjects {
        person,
        path: shared.cache.subject(&("path", path)),
        request,
    }
}

/// A request that may change something is about to be sent: what is kept of the person and of the path is old.
pub(in crate::proxy) fn begin_change(shared: &Shared, ctx: &RequestContext) -> Change {
    let timeouts = ctx.permit_at_end().and_then(policy::Permit::timeouts);
    let unknown_for = timeouts.map(|timeouts| timeouts.total).unwrap_or_default();
    let subjects = subjects(shared, ctx, shared.cache.subject("a change"));
    shared.cache.change(&subjects, unknown_for)
}
