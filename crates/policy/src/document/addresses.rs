//! `addresses`: named lists of client addresses and networks.

use crate::{
    diagnostic::{Findings, code},
    read::{At, Field},
};
use ipnet::IpNet;
use std::net::IpAddr;

/// Reads one list. A network that another one of the list holds is reported: it would have no effect.
pub(crate) fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Vec<At<IpNet>>> {
    let networks = field.list(findings, network)?;
    let before = findings.len();
    // Sorted, a network comes behind the one that holds it, and only others inside the same one come between them.
    let mut sorted: Vec<&At<IpNet>> = networks.iter().collect();
    sorted.sort_by_key(|network| network.value);
    let mut widest: Option<&At<IpNet>> = None;
    for network in sorted {
        if let Some(wider) = widest.filter(|wider| wider.value.contains(&network.value)) {
            findings
                .error(
                    code::NO_EFFECT,
                    network.at,
                    format!("`{}` is inside `{}`", network.value, wider.value),
                )
                .why("it looks like a rule of its own and is none")
                .fix("remove one of them")
                .related(wider.at, "the wider network");
        } else {
            widest = Some(network);
        }
    }
    (findings.len() == before).then_some(networks)
}

/// A network, or a single address.
fn network(field: &Field<'_>, findings: &mut Findings) -> Option<At<IpNet>> {
    let text = field.text(findings)?;
    let network = text
        .value
        .parse::<IpNet>()
        .ok()
        .or_else(|| text.value.parse::<IpAddr>().ok().map(IpNet::from));
    let mut refuse = |why: &str, fix: String| {
        let message = format!("`{}` is not an address or a network", text.value);
        findings
            .error(code::BAD_NETWORK, text.at, message)
            .why(why)
            .fix(fix);
    };
    match network {
        None => {
            refuse(
                "names and ranges would be resolved differently on every machine",
                "an IP address, alone or with a prefix length: `203.0.113.7`, `203.0.113.0/24`, `2001:db8::/32`".to_owned(),
            );
            None
        }
        Some(network) if network.trunc() != network => {
            refuse(
                "it has bits set beyond its prefix, so it is not clear which network is meant",
                format!("write `{}`, or the address alone", network.trunc()),
            );
            None
        }
        Some(network) if is_mapped(network) => {
            refuse(
                "clients with IPv4 addresses are known by those, however they connect, so it would never match",
                "write the IPv4 network".to_owned(),
            );
            None
        }
        Some(value) => Some(At { value, at: text.at }),
    }
}

/// Whether a network holds IPv4 addresses written as IPv6 and nothing else (RFC 4291 §2.5.5.2).
fn is_mapped(network: IpNet) -> bool {
    match network {
        IpNet::V4(_) => false,
        IpNet::V6(network) => network.prefix_len() >= 96 && network.network().to_ipv4_mapped().is_some(),
    }
}
