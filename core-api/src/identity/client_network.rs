//! Where a client is, as far as places are shared out by it.

use std::net::{IpAddr, Ipv4Addr};

use http::HeaderMap;

/// The segments of an IPv6 address that one customer has for himself: a /64 (RFC 6177).
const V6_SEGMENTS: usize = 4;

/// The network that a client counts as: an IPv4 address, or the /64 of an IPv6 one.
///
/// **Invariant:** an address that nobody can tell is a network as well, one for all such clients: it is bounded like any
/// other, never let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ClientNetwork {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// The first half of an IPv6 address.
    V6([u16; V6_SEGMENTS]),
    /// Nobody knows.
    Unknown,
}

impl ClientNetwork {
    /// What the gateway says of the client: it replaces `X-Forwarded-For`, and nobody else reaches this service.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all("x-forwarded-for").iter();
        let only = values.next().filter(|_| values.next().is_none());
        let address = only.and_then(|value| value.to_str().ok()?.trim().parse::<IpAddr>().ok());
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => Self::V4(address),
            Some(IpAddr::V6(address)) => address
                .segments()
                .first_chunk()
                .map_or(Self::Unknown, |half| Self::V6(*half)),
            None => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(values: &[&str]) -> ClientNetwork {
        let pairs = values.iter().map(|value| {
            let name = http::HeaderName::from_static("x-forwarded-for");
            (name, HeaderValue::from_str(value).unwrap())
        });
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        ClientNetwork::of(&headers)
    }

    #[test]
    fn a_customer_has_one_network_however_many_addresses() {
        assert_eq!(of(&["192.0.2.1"]), ClientNetwork::V4(Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!(of(&["::ffff:192.0.2.1"]), of(&["192.0.2.1"]));
        assert_eq!(of(&["2001:db8::1"]), of(&["2001:db8:0:0:ffff::2"]));
        assert_ne!(of(&["2001:db8::1"]), of(&["2001:db8:0:1::1"]));
    }

    #[test]
    fn what_says_nothing_certain_is_one_network_for_all() {
        for values in [
            &[][..],
            &["nowhere"],
            &["192.0.2.1, 192.0.2.2"],
            &["192.0.2.1", "192.0.2.2"],
        ] {
            assert_eq!(of(values), ClientNetwork::Unknown, "{values:?}");
        }
    }
}
