//! What the upstream sees: the canonical path, our own facts about the client, and the verified identity.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, header};
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use policy::{INBOUND_HEADERS_REMOVED, Principal, Scheme};

use super::context::RequestContext;
use super::request;

/// What an upstream may look at where its answer is for everyone: these are in the key of what is kept.
pub(super) const KEYED: [HeaderName; 2] = [header::ACCEPT, header::ACCEPT_LANGUAGE];

/// Rewrites the request for the upstream. Pingora has removed hop-by-hop fields already.
///
/// # Errors
/// Without a permit, or when a value cannot stand in a header, which verified claims never cause (J30).
pub(super) fn rewrite(session: &Session, upstream: &mut RequestHeader, ctx: &RequestContext) -> Result<()> {
    let permit = ctx.permitted()?;
    upstream.set_raw_path(request::target(permit.canonical_path(), permit.query()).as_bytes())?;

    if ctx.kept.as_ref().is_some_and(|kept| kept.is_for_all()) {
        remove_all_but(upstream, &KEYED);
    }
    let route = permit.route();
    if route.cache.is_some() || route.compression.is_some() {
        upstream.insert_header(header::ACCEPT_ENCODING, "identity")?;
    }

    // AD-1, AD-7, PA-7: what only we may say is removed before we say it.
    for name in INBOUND_HEADERS_REMOVED {
        upstream.remove_header(name);
    }
    remove_prefixed(upstream, &["x-forwarded-", "x-auth-", "x-client-cert"]);
    // FR-8: the client was told to go on by us.
    upstream.remove_header(&header::EXPECT);
    if !permit.forwards_authorization() {
        upstream.remove_header(&header::AUTHORIZATION);
    }

    // AD-6: our own facts, never appended to what came in.
    if let Some(connection) = &ctx.connection {
        upstream.insert_header("X-Forwarded-For", connection.client.to_string())?;
        let scheme = match connection.scheme() {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        upstream.insert_header("X-Forwarded-Proto", scheme)?;
    }
    if let Some(host) = forwarded_host(request::host(session), ctx.snapshot.plan.hosts()) {
        upstream.insert_header("X-Forwarded-Host", host.as_ref())?;
    }

    // AD-8, AD-9, EDG-7.
    let identity = ctx.identity();
    upstream.insert_header("X-Request-Id", identity.request_id.as_str())?;
    upstream.insert_header("Traceparent", identity.call.to_string())?;
    if !identity.is_continued {
        upstream.remove_header("tracestate");
    }

    // TLS-6.
    if let Some(name) = permit.client_name() {
        upstream.insert_header("X-Client-Cert-Name", name)?;
    }

    permit
        .principal()
        .map_or(Ok(()), |principal| identify(upstream, principal))
}

/// The host as the policy spells it; only the port is the client's.
pub(super) fn forwarded_host<'h>(asked: &'h str, hosts: &[String]) -> Option<Cow<'h, str>> {
    hosts.iter().find_map(|host| {
        let (name, port) = asked.split_at_checked(host.len())?;
        let is_it = name.eq_ignore_ascii_case(host) && (port.is_empty() || port.starts_with(':'));
        is_it.then(|| {
            if name == host {
                Cow::Borrowed(asked)
            } else {
                Cow::Owned(format!("{host}{port}"))
            }
        })
    })
}

/// The verified identity (AD-7, J46).
fn identify(upstream: &mut RequestHeader, principal: &Principal) -> Result<()> {
    upstream.insert_header("X-Auth-Subject", principal.subject.as_str())?;
    if let Some(session) = &principal.session {
        upstream.insert_header("X-Auth-Session", session.as_str())?;
    }
    if let Some(tenant) = &principal.tenant {
        upstream.insert_header("X-Auth-Tenant", tenant.as_str())?;
    }
    let scopes = HeaderValue::try_from(principal.scopes.join(" ")).map_err(|_| {
        pingora::Error::explain(
            pingora::ErrorType::InternalError,
            "a scope that cannot stand in a header",
        )
    })?;
    upstream.insert_header("X-Auth-Scopes", scopes)
}

/// What is not in the key must not get into an answer for others.
fn remove_all_but(upstream: &mut RequestHeader, names: &[HeaderName]) {
    let others: Vec<HeaderName> = upstream
        .headers
        .keys()
        .filter(|name| *name != header::HOST && !names.contains(name))
        .cloned()
        .collect();
    for name in others {
        upstream.remove_header(&name);
    }
}

fn remove_prefixed(upstream: &mut RequestHeader, prefixes: &[&str]) {
    let names: Vec<HeaderName> = upstream
        .headers
        .keys()
        .filter(|name| prefixes.iter().any(|prefix| name.as_str().starts_with(prefix)))
        .cloned()
        .collect();
    for name in names {
        upstream.remove_header(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::forwarded_host;

    #[test]
    fn ad6_the_host_is_told_as_the_policy_spells_it() {
        let hosts = ["api.bank.example", "[::1]"].map(str::to_owned);
        for (asked, told) in [
            ("api.bank.example", Some("api.bank.example")),
            ("API.Bank.example:8443", Some("api.bank.example:8443")),
            ("[::1]:1", Some("[::1]:1")),
            ("api.bank.example.evil", None),
            ("bank.example", None),
        ] {
            assert_eq!(forwarded_host(asked, &hosts).as_deref(), told, "{asked}");
        }
    }
}
