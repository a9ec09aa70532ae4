//! How many TLS handshakes one client address may begin (TLS-7): each costs a signature before anything is known of whoever
//! asks for it.

use std::net::IpAddr;
use std::time::Duration;

use policy::gcra::Limit;

use super::table::Table;

/// Addresses that are counted apart. One is forgotten when its allowance is full again, so no flood fills this table.
const MAX_ADDRESSES: usize = 65_536;

/// The handshakes of all addresses.
pub(crate) struct Handshakes {
    table: Table,
    limit: Option<Limit>,
}

impl Handshakes {
    /// So many in a second, and after a rest as many at once as `burst`. With one of them 0, there is no limit.
    pub(crate) fn new(per_second: u32, burst: usize) -> Self {
        let burst = u64::try_from(burst).unwrap_or(u64::MAX);
        Self {
            table: Table::new(MAX_ADDRESSES),
            limit: Limit::new(u64::from(per_second), Duration::from_secs(1), burst),
        }
    }

    /// Whether a client may begin one more; it is counted if so. `network` is its address, or the network that counts as
    /// one client.
    pub(crate) fn admit(&self, network: IpAddr) -> bool {
        let Some(limit) = self.limit else { return true };
        let key = match network {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        self.table.charge_one(&key.octets(), limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_an_allowance_and_takes_nothing_from_another() {
        let handshakes = Handshakes::new(1, 3);
        let (busy, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let admitted = (0..100_000).filter(|_| handshakes.admit(busy)).count();
        assert!((3..100_000).contains(&admitted), "{admitted}");
        assert!(handshakes.admit(other));
    }

    #[test]
    fn without_a_number_there_is_no_limit() {
        let handshakes = Handshakes::new(0, 3);
        assert!((0..1_000).all(|_| handshakes.admit("192.0.2.1".parse().unwrap())));
    }
}
