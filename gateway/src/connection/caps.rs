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
    /// From one address too many handshakes have begun.
    Handshakes,
}

impl TooMany {
    /// The word for metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::InAll => "process",
            Self::FromOneAddress => "address",
            Self::Handshakes => "handshakes",
        }
    }
}

/// The right to one open connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    caps: Arc<ConnectionCaps>,
    /// Whose it is, once that is known.
    address: Option<IpAddr>,
}

impl ConnectionCaps {
    pub(crate) fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_per_address,
            open: Mutex::default(),
        })
    }

    /// Takes one of the connections that are left, whoever it is of.
    ///
    /// # Errors
    /// When none is left.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<ConnectionPermit, TooMany> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.max {
            return Err(TooMany::InAll);
        }
        open.total = open.total.saturating_add(1);
        drop(open);
        Ok(ConnectionPermit {
            caps: self.clone(),
            address: None,
        })
    }
}

impl ConnectionPermit {
    /// Takes one of those that are left to a client.
    ///
    /// # Errors
    /// When it has as many as one may have.
    pub(crate) fn count_for(&mut self, client: IpAddr) -> Result<(), TooMany> {
        let address = network(client);
        let mut open = self.caps.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.by_address.entry(address).or_insert(0);
        if *count >= self.caps.max_per_address {
            return Err(TooMany::FromOneAddress);
        }
        *count = count.saturating_add(1);
        self.address = Some(address);
        Ok(())
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.caps.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        let Some(address) = self.address else { return };
        if let Some(count) = open.by_address.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.by_address.remove(&address);
            }
        }
    }
}

/// An IPv6 client owns its whole /64.
pub(super) fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(caps: &Arc<ConnectionCaps>, client: &str) -> Result<ConnectionPermit, TooMany> {
        let mut permit = caps.admit()?;
        permit.count_for(client.parse().unwrap())?;
        Ok(permit)
    }

    #[test]
    fn one_address_cannot_take_everything() {
        let caps = ConnectionCaps::new(3, 2);
        let (greedy, other) = ("192.0.2.1", "192.0.2.2");
        let first = admit(&caps, greedy).unwrap();
        let _second = admit(&caps, greedy).unwrap();
        assert_eq!(admit(&caps, greedy).unwrap_err(), TooMany::FromOneAddress);

        let _third = admit(&caps, other).unwrap();
        assert_eq!(admit(&caps, other).unwrap_err(), TooMany::InAll);
        drop(first);
        assert!(admit(&caps, other).is_ok());
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let caps = ConnectionCaps::new(9, 1);
        let _held = admit(&caps, "2001:db8::1").unwrap();
        assert_eq!(
            admit(&caps, "2001:db8::ffff:2").unwrap_err(),
            TooMany::FromOneAddress
        );
        assert!(admit(&caps, "2001:db8:0:1::1").is_ok());
    }

    #[test]
    fn nothing_is_left_behind() {
        let caps = ConnectionCaps::new(9, 9);
        drop(admit(&caps, "192.0.2.1").unwrap());
        drop(caps.admit().unwrap());
        let open = caps.open.lock().unwrap();
        assert_eq!((open.total, open.by_address.len()), (0, 0));
    }
}
