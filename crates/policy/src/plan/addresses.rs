//! Lists of client addresses, ready to be asked.

use ipnet::IpNet;
use std::net::IpAddr;

/// A named list of networks.
#[derive(Debug, Clone)]
pub struct AddressList {
    /// Name in the policy.
    pub name: String,
    /// Sorted, and none inside another, so that the last one that begins at or before an address is the only one that
    /// can hold it.
    networks: Vec<IpNet>,
}

impl AddressList {
    pub(crate) fn new(name: &str, networks: &[IpNet]) -> Self {
        Self {
            name: name.to_owned(),
            networks: IpNet::aggregate(&networks.to_vec()),
        }
    }

    /// The networks, sorted and joined where they touch.
    #[must_use]
    pub fn networks(&self) -> &[IpNet] {
        &self.networks
    }

    /// Whether an address is in one of the networks. IPv4 written as IPv6 counts as IPv4 (AD-4).
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let after = self
            .networks
            .partition_point(|network| network.network() <= address);
        after
            .checked_sub(1)
            .and_then(|last| self.networks.get(last))
            .is_some_and(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(networks: &[&str]) -> AddressList {
        let networks: Vec<IpNet> = networks.iter().map(|text| text.parse().unwrap()).collect();
        AddressList::new("test", &networks)
    }

    #[test]
    fn an_address_is_in_a_network_or_not() {
        let list = list(&["2001:db8::/32", "203.0.113.0/24", "198.51.100.7/32"]);
        for inside in [
            "203.0.113.0",
            "203.0.113.255",
            "198.51.100.7",
            "2001:db8:ffff::1",
            "::ffff:203.0.113.9",
        ] {
            assert!(list.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "203.0.112.255",
            "203.0.114.0",
            "198.51.100.8",
            "2001:db9::",
            "::1",
            "::203.0.113.9",
        ] {
            assert!(!list.contains(outside.parse().unwrap()), "{outside}");
        }
    }

    proptest! {
        #[test]
        fn searching_says_what_looking_at_each_says(
            networks in prop::collection::vec((any::<u32>(), 0_u8..=32), 1..20),
            address in any::<u32>(),
        ) {
            let networks: Vec<IpNet> = networks
                .into_iter()
                .map(|(bits, prefix)| IpNet::new(IpAddr::V4(bits.into()), prefix).unwrap().trunc())
                .collect();
            let address = IpAddr::V4(address.into());
            let expected = networks.iter().any(|network| network.contains(&address));
            prop_assert_eq!(AddressList::new("test", &networks).contains(address), expected);
        }
    }
}
