//! Which client a connection or a request is of, when a proxy that is trusted stands in between.

use super::AddressRule;
use std::net::{IpAddr, SocketAddr};

/// Hops of `X-Forwarded-For` that are looked at.
const MOST_HOPS: usize = 16;

/// Who stands in front of a listener and is believed about the address of clients, and about nothing else (AD-3).
#[derive(Debug, Clone)]
pub struct TrustedProxies {
    /// Where they are.
    pub from: AddressRule,
    /// How they say it.
    pub client: ClientSource,
}

/// How a proxy announces a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientSource {
    /// Before the first byte of each connection (AD-5); nobody else may connect.
    ProxyProtocol,
    /// `X-Forwarded-For` of each request (AD-2); of others it means nothing.
    ForwardedFor,
}

impl ClientSource {
    /// The word of the policy.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProxyProtocol => "proxy_protocol",
            Self::ForwardedFor => "x_forwarded_for",
        }
    }
}

impl TrustedProxies {
    /// Whether `peer` is one of them.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.from.contains(peer)
    }

    /// The client that `peer`, which is trusted, speaks for by the lines of `X-Forwarded-For` in their order: from the
    /// right the first that is no proxy of ours. What cannot be read ends the search, and so does the sixteenth hop: what
    /// was found last then is the client (AD-2, AD-4).
    #[must_use]
    pub fn client_of<'l>(
        &self,
        peer: IpAddr,
        lines: impl DoubleEndedIterator<Item = Option<&'l str>>,
    ) -> IpAddr {
        let hops = lines
            .rev()
            .flat_map(|line| line.map_or_else(|| vec![""], |line| line.rsplit(',').collect()));
        let mut client = peer.to_canonical();
        for hop in hops.take(MOST_HOPS) {
            let Some(address) = address(hop.trim_matches([' ', '\t'])) else {
                return client;
            };
            client = address;
            if !self.trusts(client) {
                return client;
            }
        }
        client
    }
}

/// An address, perhaps with a port; IPv6 with one stands in brackets.
fn address(hop: &str) -> Option<IpAddr> {
    let bracketed = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']'));
    let alone = bracketed.map_or_else(|| hop.parse().ok(), |inner| inner.parse().ok().map(IpAddr::V6));
    alone
        .or_else(|| hop.parse().ok().map(|address: SocketAddr| address.ip()))
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{AddressList, Rule};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn proxies() -> TrustedProxies {
        let networks = ["10.0.0.0/8", "2001:db8:1::/48"].map(|network| network.parse().unwrap());
        TrustedProxies {
            from: AddressRule {
                lists: vec![Arc::new(AddressList::new("balancers", &networks))],
                rule: Rule::of_language("test"),
            },
            client: ClientSource::ForwardedFor,
        }
    }

    fn client(lines: &[&str]) -> String {
        let peer = "10.0.0.1".parse().unwrap();
        let lines = lines.iter().map(|line| Some(*line));
        proxies().client_of(peer, lines).to_string()
    }

    #[test]
    fn ad2_the_client_is_the_first_from_the_right_that_is_no_proxy_of_ours() {
        for (lines, expected) in [
            (&[][..], "10.0.0.1"),
            (&["192.0.2.7"], "192.0.2.7"),
            (&["1.1.1.1, 192.0.2.7"], "192.0.2.7"),
            (&["1.1.1.1, 192.0.2.7,10.1.1.1 ,\t10.2.2.2"], "192.0.2.7"),
            (&["1.1.1.1", "192.0.2.7", "10.1.1.1"], "192.0.2.7"),
            (&["10.3.3.3, 10.1.1.1"], "10.3.3.3"),
        ] {
            assert_eq!(client(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn ad2_what_cannot_be_read_ends_the_search() {
        for broken in [
            "unknown",
            "_hidden",
            "",
            "192.0.2.7:",
            "192.0.2.07",
            "fe80::1%eth0",
            "[192.0.2.7]",
        ] {
            assert_eq!(
                client(&[&format!("192.0.2.7, {broken}, 10.1.1.1")]),
                "10.1.1.1",
                "{broken}"
            );
            assert_eq!(client(&[&format!("192.0.2.7, {broken}")]), "10.0.0.1", "{broken}");
        }
        let peer = "10.0.0.1".parse().unwrap();
        let unreadable = [Some("192.0.2.7"), None].into_iter();
        assert_eq!(proxies().client_of(peer, unreadable), peer);
    }

    #[test]
    fn ad2_no_more_than_sixteen_hops_are_looked_at() {
        let hops = |count: usize| format!("192.0.2.7{}", ", 10.1.1.1".repeat(count));
        assert_eq!(client(&[&hops(15)]), "192.0.2.7");
        assert_eq!(client(&[&hops(16)]), "10.1.1.1");
    }

    #[test]
    fn ad4_ports_brackets_and_addresses_written_as_ipv6_are_understood() {
        for (hop, expected) in [
            ("192.0.2.7:4711", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("[::ffff:192.0.2.7]:80", "192.0.2.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:443", "2001:db8::7"),
        ] {
            assert_eq!(client(&[hop]), expected);
        }
        let peer = "::ffff:10.0.0.1".parse().unwrap();
        let alone = proxies().client_of(peer, std::iter::empty());
        assert_eq!(alone.to_string(), "10.0.0.1", "a proxy that speaks for itself");
    }

    proptest! {
        /// Whatever a client writes into the header, the proxy next to it has the last word.
        #[test]
        fn ad2_nothing_that_a_client_has_sent_makes_it_another_one(forged in "[ -~]{0,60}") {
            prop_assert_eq!(client(&[&forged, "192.0.2.7"]), "192.0.2.7");
            prop_assert_eq!(client(&[&format!("{forged}, 192.0.2.7, 10.1.1.1")]), "192.0.2.7");
        }
    }
}
