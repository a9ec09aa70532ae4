//! `upstreams`: the services behind the gateway.

use crate::{
    SourceFile,
    diagnostic::{Findings, Span, code},
    document::{listeners, resilience},
    evaluate::Scheme,
    language,
    plan::{Breaker, Ejection, HealthCheck, Retries, UpstreamAddress, UpstreamAuthorization, UpstreamTls},
    read::{At, Field, Mapping, is_file_name},
};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Less than this, no service could answer.
const SHORTEST: Duration = Duration::from_millis(10);
pub(super) const LONGEST: Duration = Duration::from_mins(5);

/// One upstream as written.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamDocument {
    pub(crate) address: At<UpstreamAddress>,
    pub(crate) also_at: Vec<At<UpstreamAddress>>,
    pub(crate) authorization: UpstreamAuthorization,
    pub(crate) openapi: Option<At<String>>,
    pub(crate) timeouts: TimeoutsDocument,
    pub(crate) health: Option<HealthCheck>,
    pub(crate) eject: Option<At<Ejection>>,
    pub(crate) retries: Option<Retries>,
    pub(crate) breaker: Option<Breaker>,
    /// Where its `stale_for` is written.
    pub(crate) stale_at: Option<Span>,
    pub(crate) tls: Option<UpstreamTls>,
}

/// Timeouts of an upstream (all three) or of a route (those it tightens).
#[derive(Debug, Clone, Default)]
pub(crate) struct TimeoutsDocument {
    pub(crate) connect: Option<At<Duration>>,
    pub(crate) read: Option<At<Duration>>,
    pub(crate) total: Option<At<Duration>>,
}

impl UpstreamDocument {
    /// Reads one upstream.
    pub(crate) fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        let before = findings.len();
        let upstream = Mapping::open(field, language::UPSTREAM, findings)?;
        let address = upstream
            .key("address", findings)
            .and_then(|field| address(&field, findings));
        let also_at = upstream
            .optional("also_at")
            .and_then(|field| also_at(&field, address.as_ref(), findings))
            .unwrap_or_default();
        let tls = upstream.optional("tls");
        let tls_at = tls.as_ref().map(|field| field.key_at);
        let tls = tls.and_then(|field| tls_of(&field, findings));
        for written in address.iter().chain(&also_at) {
            fit(written, tls_at, &upstream.path, findings);
        }
        let authorization = upstream.key("authorization", findings).and_then(|field| {
            let choices = [
                ("forward", UpstreamAuthorization::Forward),
                ("strip", UpstreamAuthorization::Strip),
            ];
            field.choice(&choices, findings)
        });
        let openapi = upstream
            .optional("openapi")
            .and_then(|field| api_document(&field, findings));
        let timeouts = upstream
            .key("timeouts", findings)
            .and_then(|field| TimeoutsDocument::read(&field, language::UPSTREAM_TIMEOUTS, findings));
        let health = upstream
            .optional("health")
            .and_then(|field| resilience::health(&field, findings));
        let eject = upstream
            .optional("eject")
            .and_then(|field| resilience::ejection(&field, findings));
        let retries = upstream
            .optional("retries")
            .and_then(|field| resilience::retries(&field, findings));
        let breaker = upstream
            .optional("breaker")
            .and_then(|field| resilience::breaker(&field, findings));
        let (breaker, stale_at) = breaker.unzip();
        let (address, authorization, timeouts) = (address?, authorization?.value, timeouts?);
        (findings.len() == before).then_some(Self {
            address,
            also_at,
            authorization,
            openapi,
            timeouts,
            health,
            eject,
            retries,
            breaker,
            stale_at: stale_at.flatten(),
            tls,
        })
    }
}

/// Reads `tls`.
fn tls_of(field: &Field<'_>, findings: &mut Findings) -> Option<UpstreamTls> {
    let tls = Mapping::open(field, language::UPSTREAM_TLS, findings)?;
    let min = listeners::min(&tls, findings);
    let authority = tls
        .key("authority", findings)
        .and_then(|field| listeners::file_stem(&field, ("authority", "NAME.ca.pem"), findings));
    let server_name = tls.key("server_name", findings).and_then(|field| {
        let host = field.host(findings)?;
        is_server_name(&host, findings).then_some(host)
    });
    let certificate = tls
        .optional("certificate")
        .map(|field| listeners::certificate_name(&field, findings));
    Some(UpstreamTls {
        min: min?,
        authority: authority?.value,
        server_name: server_name?.value,
        certificate: certificate.map_or(Some(None), |name| name.map(|name| Some(name.value)))?,
    })
}

/// An address is no name that could be asked for (RFC 6066 §3).
fn is_server_name(host: &At<String>, findings: &mut Findings) -> bool {
    let is_address = host.value.starts_with('[') || host.value.parse::<IpAddr>().is_ok();
    if is_address {
        findings
            .error(
                code::BAD_HOST,
                host.at,
                format!("`{}` is an address, and no name of a service", host.value),
            )
            .why("a service moves to other addresses, and its certificate must stay right")
            .fix("the name in the certificate of the service: `core-api.internal`");
    }
    !is_address
}

/// What is written as protected is protected, and what is not is not: `https://` and `tls` come together.
fn fit(address: &At<UpstreamAddress>, tls: Option<Span>, path: &str, findings: &mut Findings) {
    match (address.value.is_over_tls(), tls) {
        (true, None) => {
            findings
                .error(
                    code::TLS_DOES_NOT_FIT,
                    address.at,
                    format!("{path} says nothing of who answers at `{}`", address.value),
                )
                .why("whoever answers there would be trusted")
                .fix("add `tls` with `min`, `authority` and `server_name`");
        }
        (false, Some(tls)) => {
            findings
                .error(
                    code::TLS_DOES_NOT_FIT,
                    address.at,
                    format!("`{}` is in clear, though {path} has `tls`", address.value),
                )
                .why("requests to this address would cross without the protection that is written")
                .fix("write `https://` with an address or a name, or remove `tls`")
                .related(tls, "protection is asked for here");
        }
        (true, Some(_)) | (false, None) => {}
    }
}

impl TimeoutsDocument {
    /// Reads timeouts; `keys` says which must be there. A wrong or missing one leaves nothing.
    pub(crate) fn read(
        field: &Field<'_>,
        keys: &'static [language::Key],
        findings: &mut Findings,
    ) -> Option<Self> {
        let before = findings.len();
        let timeouts = Mapping::open_some(field, keys, findings)?;
        let mut one = |key: &str| {
            timeouts
                .key(key, findings)
                .and_then(|field| field.duration_within(SHORTEST..=LONGEST, findings))
        };
        let read = Self {
            connect: one("connect"),
            read: one("read"),
            total: one("total"),
        };
        (findings.len() == before).then_some(read)
    }
}

/// A file of the policy folder, as the bundle names it.
fn api_document(field: &Field<'_>, findings: &mut Findings) -> Option<At<String>> {
    let text = field.text(findings)?;
    let is_path = text.value.split('/').all(is_file_name);
    if !is_path || !SourceFile::is_api_document(&text.value) {
        findings
            .error(
                code::BAD_TEXT,
                text.at,
                format!("`{}` is not the name of an OpenAPI document", text.value),
            )
            .why("the document is a file of the policy folder, so that it is a part of what is reviewed and put in force")
            .fix("a file name that ends in `.openapi.json`: `core-api.openapi.json`");
        return None;
    }
    Some(text)
}

fn also_at(
    field: &Field<'_>,
    first: Option<&At<UpstreamAddress>>,
    findings: &mut Findings,
) -> Option<Vec<At<UpstreamAddress>>> {
    let more = field.list(findings, address)?;
    let again = first.and_then(|first| more.iter().find(|also| also.value == first.value));
    if let (Some(again), Some(first)) = (again, first) {
        findings
            .error(
                code::BAD_LIST,
                again.at,
                format!("`{}` is `address` already", again.value),
            )
            .why("one of them was probably meant to be another")
            .fix("remove it")
            .related(first.at, "first here");
    }
    Some(more)
}

fn address(field: &Field<'_>, findings: &mut Findings) -> Option<At<UpstreamAddress>> {
    let text = field.text(findings)?;
    let unix = text.value.strip_prefix("unix:").filter(|name| is_file_name(name));
    let in_clear = text.value.strip_prefix("http://");
    let over_tls = text.value.strip_prefix("https://");
    let address = match (unix, in_clear, over_tls) {
        (Some(name), _, _) => Some(UpstreamAddress::Unix(name.to_owned())),
        (None, Some(rest), _) => of_network(Scheme::Http, rest),
        (None, None, Some(rest)) => of_network(Scheme::Https, rest),
        (None, None, None) => None,
    };
    if address.is_none() {
        findings
            .error(
                code::BAD_ADDRESS,
                text.at,
                format!("`{}` is not the address of an upstream", text.value),
            )
            .why("the gateway connects to exactly what is written, and adds no port and no path")
            .fix("`unix:` and a file name in the socket folder, or `http://` or `https://` with an IP address or a name, and a port");
    }
    address.map(|value| At { value, at: text.at })
}

fn of_network(scheme: Scheme, text: &str) -> Option<UpstreamAddress> {
    let Ok(address) = text.parse::<SocketAddr>() else {
        return name(scheme, text);
    };
    (address.port() > 0).then_some(match scheme {
        Scheme::Http => UpstreamAddress::Http(address),
        Scheme::Https => UpstreamAddress::Https(address),
    })
}

/// A host name and its port. What looks like a number would be an address in a spelling of its own (RFC 1123 §2.1).
fn name(scheme: Scheme, text: &str) -> Option<UpstreamAddress> {
    let (host, port) = text.split_once(':')?;
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = host.rsplit('.').next()?;
    let is_name = host.len() <= 253
        && host.split('.').all(is_label)
        && last.bytes().any(|byte| byte.is_ascii_lowercase())
        && !last.starts_with("0x");
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| *port != 0 && is_port)?;
    is_name.then(|| UpstreamAddress::Name {
        scheme,
        host: host.to_owned(),
        port,
    })
}
