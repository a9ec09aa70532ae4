//! `upstreams`: the services behind the gateway.

use crate::{
    SourceFile,
    diagnostic::{Findings, code},
    document::resilience,
    language,
    plan::{Breaker, Ejection, HealthCheck, Retries, UpstreamAddress, UpstreamAuthorization},
    read::{At, Field, Mapping, is_file_name},
};
use std::{net::SocketAddr, time::Duration};

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
        })
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
    let http = text
        .value
        .strip_prefix("http://")
        .and_then(|address| address.parse::<SocketAddr>().ok())
        .filter(|address| address.port() > 0);
    let address = match (unix, http) {
        (Some(name), _) => Some(UpstreamAddress::Unix(name.to_owned())),
        (None, Some(address)) => Some(UpstreamAddress::Http(address)),
        (None, None) => text.value.strip_prefix("http://").and_then(name),
    };
    if address.is_none() {
        findings
            .error(
                code::BAD_ADDRESS,
                text.at,
                format!("`{}` is not the address of an upstream", text.value),
            )
            .why("the gateway connects to exactly what is written, and adds no port and no path")
            .fix("`unix:` and a file name in the socket folder, or `http://` with an IP address or a name, and a port");
    }
    address.map(|value| At { value, at: text.at })
}

/// A host name and its port. What looks like a number would be an address in a spelling of its own (RFC 1123 §2.1).
fn name(text: &str) -> Option<UpstreamAddress> {
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
        host: host.to_owned(),
        port,
    })
}
