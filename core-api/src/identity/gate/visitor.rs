//! Who comes to the gate: the name as typed, where from, and on which device.

use std::net::IpAddr;

use axum::http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::super::caller;
use super::super::cookies::cookie;

/// The cookie of a trusted device. The prefix holds it to this host, over TLS, for all paths.
const COOKIE: &str = "__Host-dev";
/// The same for clients that keep no cookies. Sent with any value, it asks for the answer to carry it, too.
const DEVICE_TOKEN: HeaderName = HeaderName::from_static("x-device-token");
/// Set by the gateway, and removed by it when a client sends it.
const CLIENT: &str = "x-forwarded-for";
const MOST_DESCRIPTION: usize = 200;

/// An attempt, before it is known whether it is let in.
#[derive(Debug)]
pub(crate) struct Visitor {
    /// As typed: perhaps a password that was typed into the wrong field, so never logged.
    pub(super) name: String,
    pub(super) client: Option<IpAddr>,
    pub(super) device_token: Option<String>,
    /// Whether it keeps no cookies.
    pub(super) wants_header: bool,
    pub(super) description: String,
    pub(super) request_id: String,
}

impl Visitor {
    /// Reads the head of a request that wants to verify a password of this name.
    pub(crate) fn new(parts: &Parts, name: &str) -> Self {
        let header = parts.headers.get(&DEVICE_TOKEN);
        let token = header.map_or_else(
            || cookie(&parts.headers, COOKIE),
            |value| value.to_str().ok().map(str::to_owned),
        );
        Self {
            name: name.to_owned(),
            client: client(&parts.headers),
            device_token: token,
            wants_header: header.is_some(),
            description: description(&parts.headers),
            request_id: caller::request_id(parts),
        }
    }
}

/// The address that the gateway names: one, alone. Anything else is nobody's, and shares the limit of all such.
pub(super) fn client(headers: &HeaderMap) -> Option<IpAddr> {
    let mut values = headers.get_all(CLIENT).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok()?.parse().ok()
}

/// What a person recognises the device by, without anything that could be more than text.
fn description(headers: &HeaderMap) -> String {
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    agent
        .chars()
        .filter(|letter| !letter.is_control())
        .take(MOST_DESCRIPTION)
        .collect()
}

/// The field by which a client is given its device token.
pub(super) fn field(
    token: &str,
    wants_header: bool,
    trusted_for_s: u32,
) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = if wants_header {
        (DEVICE_TOKEN, token.to_owned())
    } else {
        let attributes = "Path=/; Secure; HttpOnly; SameSite=Lax";
        let value = format!("{COOKIE}={token}; Max-Age={trusted_for_s}; {attributes}");
        (header::SET_COOKIE, value)
    };
    HeaderValue::from_str(&value).ok().map(|value| (name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(fields: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder();
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn visitor(fields: &[(&str, &str)]) -> Visitor {
        Visitor::new(&parts(fields), "a@b.c")
    }

    #[test]
    fn l16_only_one_whole_address_is_believed() {
        for (value, wanted) in [
            ("203.0.113.7", Some("203.0.113.7")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("203.0.113.7, 198.51.100.1", None),
            ("203.0.113.7:443", None),
            ("unknown", None),
            ("", None),
        ] {
            let found = visitor(&[("x-forwarded-for", value)]).client;
            assert_eq!(found, wanted.map(|address| address.parse().unwrap()), "{value}");
        }
        let two = [
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-for", "203.0.113.8"),
        ];
        assert_eq!(visitor(&two).client, None);
        assert_eq!(visitor(&[("x-real-ip", "203.0.113.7")]).client, None);
    }

    #[test]
    fn a_device_token_comes_in_a_cookie_or_in_a_header_of_its_own() {
        let found = |fields: &[(&str, &str)]| {
            let visitor = visitor(fields);
            (visitor.device_token, visitor.wants_header)
        };
        assert_eq!(found(&[]), (None, false));
        let cookies = [("cookie", "a=1; __Host-dev=1.2.3.4"), ("cookie", "b=2")];
        assert_eq!(found(&cookies), (Some("1.2.3.4".to_owned()), false));
        assert_eq!(found(&[("cookie", "x__Host-dev=1; dev=2")]), (None, false));
        let both = [("x-device-token", "new"), ("cookie", "__Host-dev=1.2.3.4")];
        assert_eq!(found(&both), (Some("new".to_owned()), true));
    }
}
