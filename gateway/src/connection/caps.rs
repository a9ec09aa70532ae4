//! How many connections may be open: in all, and from one client address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts open connections.
#[derive(Debug)]
pub(crate) struct ConnectionCaps {
    max: usize,
    max_per_address: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why a connection is closed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TooMany {
    InAll,
    FromOneAddress,
}

impl TooMany {
    /// The word for metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::InAll => "process",
            Self::FromOneAddress => "address",
        }
    }
}

/// The right to one open connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    caps: Arc<ConnectionCaps>,
    address: IpAddr,
}

impl ConnectionCaps {
    pub(crate) fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_per_address,
            open: Mutex::default(),
        })
    }

    /// Takes one of the connections that are left.
    ///
    /// # Errors
    /// Which of the two bounds is reached.
    pub(crate) fn admit(self: &Arc<Self>, client: IpAddr) -> Result<ConnectionPermit, TooMany> {
        let address = network(client);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.max {
            return Err(TooMany::InAll);
        }
        let count = open.by_address.entry(address).or_insert(0);
        if *count >= self.max_per_address {
            return Err(TooMany::FromOneAddress);
        }
        *count = count.saturating_add(1);
        open.total = open.total.saturating_add(1);
        drop(open);
        Ok(ConnectionPermit {
            caps: self.clone(),
            address,
        })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.caps.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

/// An IPv6 client owns its whole /64.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_everything() {
        let caps = ConnectionCaps::new(3, 2);
        let (greedy, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = caps.admit(greedy).unwrap();
        let _second = caps.admit(greedy).unwrap();
        assert_eq!(caps.admit(greedy).unwrap_err(), TooMany::FromOneAddress);

        let _third = caps.admit(other).unwrap();
        assert_eq!(caps.admit(other).unwrap_err(), TooMany::InAll);
        drop(first);
        assert!(caps.admit(other).is_ok());
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let caps = ConnectionCaps::new(9, 1);
        let _held = caps.admit("2001:db8::1".parse().unwrap()).unwrap();
        assert_eq!(
            caps.admit("2001:db8::ffff:2".parse().unwrap()).unwrap_err(),
            TooMany::FromOneAddress
        );
        assert!(caps.admit("2001:db8:0:1::1".parse().unwrap()).is_ok());
    }

    #[test]
    fn nothing_is_left_behind() {
        let caps = ConnectionCaps::new(9, 9);
        drop(caps.admit("192.0.2.1".parse().unwrap()).unwrap());
        let open = caps.open.lock().unwrap();
        assert_eq!((open.total, open.by_address.len()), (0, 0));
    }
}
