//! `upstreams`: the services behind the gateway.

use crate::{
    diagnostic::{Findings, code},
    language,
    plan::{UpstreamAddress, UpstreamAuthorization},
    read::{At, Field, Mapping, is_file_name},
};
use std::{net::SocketAddr, time::Duration};

/// Less than this, no service could answer.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_mins(5);

/// One upstream as written.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamDocument {
    pub(crate) address: At<UpstreamAddress>,
    pub(crate) authorization: UpstreamAuthorization,
    pub(crate) timeouts: TimeoutsDocument,
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
        let upstream = Mapping::open(field, language::UPSTREAM, findings)?;
        let address = upstream
            .key("address", findings)
            .and_then(|field| address(&field, findings));
        let authorization = upstream.key("authorization", findings).and_then(|field| {
            let choices = [
                ("forward", UpstreamAuthorization::Forward),
                ("strip", UpstreamAuthorization::Strip),
            ];
            field.choice(&choices, findings)
        });
        let timeouts = upstream
            .key("timeouts", findings)
            .and_then(|field| TimeoutsDocument::read(&field, language::UPSTREAM_TIMEOUTS, findings));
        Some(Self {
            address: address?,
            authorization: authorization?.value,
            timeouts: timeouts?,
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
        (None, None) => None,
    };
    if address.is_none() {
        findings
            .error(
                code::BAD_ADDRESS,
                text.at,
                format!("`{}` is not the address of an upstream", text.value),
            )
            .why("the gateway connects to exactly what is written: no names, no paths")
            .fix("`unix:` and a file name in the socket folder, or `http://` with an IP address and a port");
    }
    address.map(|value| At { value, at: text.at })
}
