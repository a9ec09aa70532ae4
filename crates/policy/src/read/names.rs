//! Addresses, hosts, origins and header fields.

use super::{At, Field, units::is_number};
use crate::{
    diagnostic::{Findings, code},
    suggest,
    yaml::Value,
};
use http::{HeaderName, HeaderValue};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

impl Field<'_> {
    /// An address to listen on: `0.0.0.0:443`, `[::]:443`.
    pub(crate) fn socket_address(&self, findings: &mut Findings) -> Option<At<SocketAddr>> {
        if let Value::Number(port) = &self.node.value {
            let example = port.parse::<u16>().map_or(443, |port| port.max(1));
            findings
                .error(
                    code::BAD_ADDRESS,
                    self.node.at,
                    format!("`{port}` is no address to listen on"),
                )
                .why("a port alone would be bound to another address on every machine")
                .fix(format!("write the address too: \"0.0.0.0:{example}\""));
            return None;
        }
        let text = self.text(findings)?;
        let address = text.value.parse().ok();
        if address.is_none() {
            findings
                .error(
                    code::BAD_ADDRESS,
                    text.at,
                    format!("`{}` is not an address to listen on", text.value),
                )
                .why("a name or a missing port would be resolved differently on every machine")
                .fix("an IP address and a port: `0.0.0.0:443`, `[::]:443`");
        }
        address.map(|value| At { value, at: text.at })
    }

    /// A host name or address as clients write it, without a port.
    pub(crate) fn host(&self, findings: &mut Findings) -> Option<At<String>> {
        let text = self.text(findings)?;
        if !is_host(&text.value) {
            findings
                .error(code::BAD_HOST, text.at, format!("`{}` is not a host", text.value))
                .why("it would never equal what a client sends")
                .fix(format!(
                    "a name in lower case without scheme, port or `*`: `api.bank.example`, `127.0.0.1`, `[::1]`{}",
                    suggest::foreign_letter(&text.value)
                ));
            return None;
        }
        Some(text)
    }

    /// An exact origin, `https://app.bank.example`, or `*`.
    pub(crate) fn origin(&self, findings: &mut Findings) -> Option<At<String>> {
        let text = self.text(findings)?;
        let parts = ["https://", "http://"].iter().zip([":443", ":80"]);
        let authority = parts
            .filter_map(|(scheme, port)| Some((text.value.strip_prefix(scheme)?, port)))
            .next();
        if let Some((authority, port)) = authority
            && let Some(host) = authority.strip_suffix(port).filter(|host| is_host(host))
        {
            let origin = text.value.strip_suffix(port).unwrap_or(host);
            findings
                .error(
                    code::BAD_ORIGIN,
                    text.at,
                    format!("no browser sends the port of `{}`", text.value),
                )
                .why("origins are compared byte for byte, and the port of the scheme is left out of them")
                .fix(format!("write `{origin}`"));
            return None;
        }
        let fits = authority.is_some_and(|(authority, _)| {
            is_authority(authority) && authority.bytes().all(|byte| !byte.is_ascii_uppercase())
        });
        if !fits && text.value != "*" {
            findings
                .error(
                    code::BAD_ORIGIN,
                    text.at,
                    format!("`{}` is not an origin", text.value),
                )
                .why("origins are compared byte for byte with what a browser sends")
                .fix(format!(
                    "scheme and host in lower case, no path, no trailing slash: `https://app.bank.example`{}",
                    suggest::foreign_letter(&text.value)
                ));
            return None;
        }
        Some(text)
    }

    /// The name of a header field.
    pub(crate) fn header_name(&self, findings: &mut Findings) -> Option<At<HeaderName>> {
        let text = self.text(findings)?;
        header_name(&text, findings).map(|value| At { value, at: text.at })
    }

    /// The value of a header field.
    pub(crate) fn header_value(&self, findings: &mut Findings) -> Option<At<HeaderValue>> {
        let text = self.text(findings)?;
        let trimmed = text.value.trim();
        let visible = !trimmed.is_empty() && trimmed.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let value = visible.then(|| HeaderValue::from_str(trimmed).ok()).flatten();
        if value.is_none() {
            findings
                .error(
                    code::BAD_HEADER,
                    text.at,
                    format!("{} is not a header value", self.path),
                )
                .why("it could end the header and begin another")
                .fix(format!(
                    "visible ASCII on one line (use `>-` to fold a long one){}",
                    suggest::foreign_letter(&text.value)
                ));
        }
        value.map(|value| At { value, at: text.at })
    }
}

/// Reads a header name; used for keys and for items.
pub(crate) fn header_name(text: &At<String>, findings: &mut Findings) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(text.value.as_bytes()).ok();
    if text.value.contains('*') {
        findings
            .error(
                code::BAD_HEADER,
                text.at,
                format!("`{}` is not the name of a header", text.value),
            )
            .why("there are no wildcards: it would mean the header of exactly this name")
            .fix("write each header by its name");
        return None;
    }
    if name.is_none() || text.value.contains('_') {
        findings
            .error(
                code::BAD_HEADER,
                text.at,
                format!("`{}` is not the name of a header", text.value),
            )
            .why("servers disagree about such names")
            .fix("letters, digits and `-`: `X-Frame-Options`");
        return None;
    }
    name
}

/// Whether a text names a file in a folder that the gateway knows, and can lead nowhere else.
pub(crate) fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Whether a host means this machine, whoever asks.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let labels = ["localhost", "localdomain", "ip6-localhost", "ip6-loopback"];
    labels.contains(&host.rsplit('.').next().unwrap_or(host))
        || address
            .parse::<IpAddr>()
            .map(|ip| ip.to_canonical())
            .is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

/// Whether a text is a host, in any case, and perhaps a port: no user.
pub(crate) fn is_authority(authority: &str) -> bool {
    let lower = authority.to_ascii_lowercase();
    match lower.rsplit_once(':') {
        Some((host, port)) if !lower.ends_with(']') => {
            let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
            is_host(host) && is_number(port) && is_port
        }
        _ => is_host(&lower),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address
            .parse::<Ipv6Addr>()
            .is_ok_and(|ip| ip.to_string() == address);
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    // A name that ends in a number is an address for every client, in forms that only some of them know (0x7f.1).
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || is_hexadecimal(last);
    let is_address = host.parse::<Ipv4Addr>().is_ok();
    host.len() <= 253 && host.split('.').all(label) && (is_address || !is_number)
}

fn is_hexadecimal(label: &str) -> bool {
    let digits = label.strip_prefix("0x");
    digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
