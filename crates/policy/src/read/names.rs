//! Addresses, hosts, origins and header fields.

use super::{At, Field, units::is_number};
use crate::diagnostic::{Findings, code};
use http::{HeaderName, HeaderValue};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

impl Field<'_> {
    /// An address to listen on: `0.0.0.0:443`, `[::]:443`.
    pub(crate) fn socket_address(&self, findings: &mut Findings) -> Option<At<SocketAddr>> {
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
                .fix("a name in lower case without scheme, port or `*`: `api.bank.example`, `127.0.0.1`, `[::1]`");
            return None;
        }
        Some(text)
    }

    /// An exact origin, `https://app.bank.example`, or `*`.
    pub(crate) fn origin(&self, findings: &mut Findings) -> Option<At<String>> {
        let text = self.text(findings)?;
        let authority = text
            .value
            .strip_prefix("https://")
            .or_else(|| text.value.strip_prefix("http://"));
        let fits = authority.is_some_and(|authority| match authority.rsplit_once(':') {
            Some((host, port)) if !authority.ends_with(']') => {
                is_host(host) && is_number(port) && port.len() <= 5
            }
            _ => is_host(authority),
        });
        if !fits && text.value != "*" {
            findings
                .error(
                    code::BAD_ORIGIN,
                    text.at,
                    format!("`{}` is not an origin", text.value),
                )
                .why("origins are compared byte for byte with what a browser sends")
                .fix("scheme and host in lower case, no path, no trailing slash: `https://app.bank.example`");
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
                .fix("visible ASCII on one line (use `>-` to fold a long one)");
        }
        value.map(|value| At { value, at: text.at })
    }
}

/// Reads a header name; used for keys and for items.
pub(crate) fn header_name(text: &At<String>, findings: &mut Findings) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(text.value.as_bytes()).ok();
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
    host == "localhost"
        || host.ends_with(".localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
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
    host.len() <= 253 && host.split('.').all(label)
}
