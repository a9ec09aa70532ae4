//! What the upstream sees: the canonical path, our own facts about the client, and the verified identity.

use std::borrow::Cow;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use policy::{INBOUND_HEADERS_REMOVED, Permit, Principal, Scheme};

use super::context::RequestContext;
use super::hop_by_hop::{is_hop_by_hop, remove};
use super::request;
use crate::identity::{REQUEST_ID, TRACE_PARENT};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_CLIENT_CERT_NAME: HeaderName = HeaderName::from_static("x-client-cert-name");
const X_AUTH_SUBJECT: HeaderName = HeaderName::from_static("x-auth-subject");
const X_AUTH_SESSION: HeaderName = HeaderName::from_static("x-auth-session");
const X_AUTH_TENANT: HeaderName = HeaderName::from_static("x-auth-tenant");
const X_AUTH_SCOPES: HeaderName = HeaderName::from_static("x-auth-scopes");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");
const PREFIXES: [&str; 3] = ["x-forwarded-", "x-auth-", "x-client-cert"];
/// Fields that are added at most, and those of pingora behind them.
const OURS: usize = 14;

/// What an upstream may look at where its answer is for everyone: these are in the key of what is kept.
pub(super) const KEYED: [HeaderName; 2] = [header::ACCEPT, header::ACCEPT_LANGUAGE];

/// Rewrites the request for the upstream.
///
/// # Errors
/// Without a permit, or when a value cannot stand in a header, which verified claims never cause (J30).
pub(super) fn rewrite(session: &Session, upstream: &mut RequestHeader, ctx: &RequestContext) -> Result<()> {
    let permit = ctx.permitted()?;
    let target = request::target(permit.canonical_path(), permit.query());
    change_fields(upstream, |fields| fill(fields, session, ctx, permit))?;
    if upstream.raw_path() == target.as_bytes() {
        Ok(())
    } else {
        upstream.set_raw_path(target.as_bytes())
    }
}

/// Removes the field, and with it how the client spelled the names of all.
pub(super) fn remove_upgrade(request: &mut RequestHeader) {
    if request.raw_path_is_utf8() && request.raw_path().starts_with(b"/") {
        change_fields(request, |fields| fields.remove(header::UPGRADE));
    } else {
        request.remove_header(&header::UPGRADE);
    }
}

/// Changes the fields of a request in place. Pingora's own way reads each name anew and keeps how it was spelled beside
/// it; field names have no case (RFC 9110 §5.1), and reach upstreams in lower case. The target becomes that of the URI.
fn change_fields<T>(request: &mut RequestHeader, change: impl FnOnce(&mut HeaderMap) -> T) -> T {
    let (empty, ()) = http::Request::new(()).into_parts();
    let mut parts = Parts::from(std::mem::replace(request, RequestHeader::from(empty)));
    let changed = change(&mut parts.headers);
    *request = RequestHeader::from(parts);
    changed
}

fn fill(fields: &mut HeaderMap, session: &Session, ctx: &RequestContext, permit: &Permit) -> Result<()> {
    if ctx.kept.as_ref().is_some_and(|kept| kept.is_for_all()) {
        remove_all_but(fields, &KEYED);
    }
    let route = permit.route();
    if route.cache.is_some() || route.compression.is_some() {
        fields.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    let keeps_authorization = permit.forwards_authorization();
    let keeps_state = ctx.identity().is_continued;
    remove(fields, |name| {
        is_hop_by_hop(name)
            || is_only_ours(name)
            // FR-8: the client was told to go on by us.
            || *name == header::EXPECT
            || (*name == header::AUTHORIZATION && !keeps_authorization)
            || (*name == TRACE_STATE && !keeps_state)
    });
    join_cookies(fields)?;
    fields.reserve(OURS);

    // AD-6: our own facts, never appended to what came in.
    if let Some(client) = ctx.client_field() {
        fields.insert(X_FORWARDED_FOR, client.clone());
    }
    if let Some(connection) = &ctx.connection {
        let scheme = match connection.scheme() {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        fields.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    if let Some(host) = forwarded_host(request::host(session), ctx.snapshot.plan.hosts()) {
        fields.insert(X_FORWARDED_HOST, value(host.as_ref())?);
    }

    // AD-8, AD-9, EDG-7.
    let identity = ctx.identity();
    fields.insert(REQUEST_ID, identity.names.request_id_field().clone());
    fields.insert(TRACE_PARENT, identity.names.call_field().clone());

    // TLS-6.
    if let Some(name) = permit.client_name() {
        fields.insert(X_CLIENT_CERT_NAME, value(name)?);
    }

    permit
        .principal()
        .map_or(Ok(()), |principal| identify(fields, principal))
}

fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|_| cannot_stand())
}

fn cannot_stand() -> Box<pingora::Error> {
    let kind = pingora::ErrorType::InternalError;
    pingora::Error::explain(kind, "a value that cannot stand in a header")
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

/// HTTP/2 may split them over fields; elsewhere there is one (RFC 9113 §8.2.3).
fn join_cookies(fields: &mut HeaderMap) -> Result<()> {
    let cookies: Vec<&[u8]> = fields
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if cookies.len() > 1 {
        let joined = HeaderValue::from_bytes(&cookies.join(&b"; "[..])).map_err(|_| cannot_stand())?;
        fields.insert(header::COOKIE, joined);
    }
    Ok(())
}

/// The verified identity (AD-7, J46).
fn identify(fields: &mut HeaderMap, principal: &Principal) -> Result<()> {
    fields.insert(X_AUTH_SUBJECT, value(&principal.subject)?);
    if let Some(session) = &principal.session {
        fields.insert(X_AUTH_SESSION, value(session)?);
    }
    if let Some(tenant) = &principal.tenant {
        fields.insert(X_AUTH_TENANT, value(tenant)?);
    }
    fields.insert(X_AUTH_SCOPES, value(&principal.scopes.join(" "))?);
    Ok(())
}

/// What is not in the key must not get into an answer for others.
fn remove_all_but(fields: &mut HeaderMap, names: &[HeaderName]) {
    remove(fields, |name| *name != header::HOST && !names.contains(name));
}

/// AD-1, AD-7, PA-7: what only we may say is removed before we say it.
fn is_only_ours(name: &HeaderName) -> bool {
    let name = name.as_str();
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || INBOUND_HEADERS_REMOVED.contains(&name)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use policy::INBOUND_HEADERS_REMOVED;

    use super::{forwarded_host, is_only_ours, remove};

    #[test]
    fn ad1_ad7_pa7_what_only_we_say_is_removed_and_the_rest_stays() {
        let mut fields = HeaderMap::new();
        let ours = [
            "x-auth-anything",
            "x-forwarded-anything",
            "x-client-cert-anything",
        ];
        for name in INBOUND_HEADERS_REMOVED.into_iter().chain(ours) {
            fields.append(name, "a".parse().unwrap());
            fields.append(name, "b".parse().unwrap());
        }
        for name in ["accept", "x-authority", "x-forward"] {
            fields.append(name, "a".parse().unwrap());
        }
        remove(&mut fields, is_only_ours);
        let mut left: Vec<_> = fields.keys().map(http::HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "x-authority", "x-forward"]);
    }

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
