//! How many connections may be open, and how many requests under way on them: in all, and from one client address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::settings::ConnectionSettings;

/// Counts open connections, and requests under way.
#[derive(Debug)]
pub(crate) struct ConnectionCaps {
    bounds: ConnectionSettings,
    open: Mutex<Open>,
    in_flight: AtomicUsize,
    /// Requests under way of clients that proxies have named, by address.
    of_named: Mutex<HashMap<IpAddr, usize>>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, Arc<Held>>,
}

/// What one client holds.
#[derive(Debug, Default)]
struct Held {
    /// Changed under the lock of all of them alone.
    connections: AtomicUsize,
    in_flight: AtomicUsize,
}

/// The right to one request under way of a client that a proxy has named; given back when dropped.
#[derive(Debug)]
pub(crate) struct NamedPlace {
    caps: Arc<ConnectionCaps>,
    address: IpAddr,
}

/// Why a connection is closed, or a request refused, at once.
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
    client: Option<(IpAddr, Arc<Held>)>,
}

impl ConnectionCaps {
    pub(crate) fn new(bounds: ConnectionSettings) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            open: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            of_named: Mutex::default(),
        })
    }

    /// Takes one of the connections that are left, whoever it is of.
    ///
    /// # Errors
    /// When none is left.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<ConnectionPermit, TooMany> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.bounds.max {
            return Err(TooMany::InAll);
        }
        open.total = open.total.saturating_add(1);
        drop(open);
        Ok(ConnectionPermit {
            caps: self.clone(),
            client: None,
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
        let held = open.by_address.entry(address).or_default();
        if !take(&held.connections, self.caps.bounds.max_per_address) {
            return Err(TooMany::FromOneAddress);
        }
        self.client = Some((address, held.clone()));
        Ok(())
    }

    /// Takes a place for a request on this connection: two additions, and nothing to look up.
    ///
    /// # Errors
    /// When none is left, in all or to this client.
    pub(super) fn begin_request(&self) -> Result<(), TooMany> {
        let ConnectionCaps {
            bounds, in_flight, ..
        } = &*self.caps;
        if let Some((_, held)) = &self.client
            && !take(&held.in_flight, bounds.max_in_flight_per_address)
        {
            return Err(TooMany::FromOneAddress);
        }
        if !take(in_flight, bounds.max_in_flight) {
            if let Some((_, held)) = &self.client {
                held.in_flight.fetch_sub(1, Ordering::Relaxed);
            }
            return Err(TooMany::InAll);
        }
        Ok(())
    }

    /// Takes a place for a request of a client that the proxy on this connection has named, beside the one of the connection.
    ///
    /// # Errors
    /// When this client has as many as one may have, over all connections of proxies.
    pub(super) fn begin_request_of(&self, client: IpAddr) -> Result<NamedPlace, TooMany> {
        let address = network(client);
        let mut of_named = self.caps.of_named.lock().unwrap_or_else(PoisonError::into_inner);
        let held = of_named.entry(address).or_default();
        if *held >= self.caps.bounds.max_in_flight_per_address {
            return Err(TooMany::FromOneAddress);
        }
        *held = held.saturating_add(1);
        drop(of_named);
        Ok(NamedPlace {
            caps: self.caps.clone(),
            address,
        })
    }

    /// Gives back so many places.
    pub(super) fn end_requests(&self, count: usize) {
        self.caps.in_flight.fetch_sub(count, Ordering::Relaxed);
        if let Some((_, held)) = &self.client {
            held.in_flight.fetch_sub(count, Ordering::Relaxed);
        }
    }
}

/// One more, if that is not too many. What is taken beyond the bound is given back at once, and never used.
fn take(count: &AtomicUsize, most: usize) -> bool {
    let is_left = count.fetch_add(1, Ordering::Relaxed) < most;
    if !is_left {
        count.fetch_sub(1, Ordering::Relaxed);
    }
    is_left
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.caps.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        if let Some((address, held)) = &self.client
            && held.connections.fetch_sub(1, Ordering::Relaxed) == 1
        {
            open.by_address.remove(address);
        }
    }
}

impl Drop for NamedPlace {
    fn drop(&mut self) {
        let mut of_named = self.caps.of_named.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = of_named.get_mut(&self.address) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                of_named.remove(&self.address);
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

    fn caps(max: usize, max_per_address: usize) -> Arc<ConnectionCaps> {
        ConnectionCaps::new(ConnectionSettings {
            max,
            max_per_address,
            max_in_flight: max,
            max_in_flight_per_address: max_per_address,
            ..ConnectionSettings::default()
        })
    }

    fn admit(caps: &Arc<ConnectionCaps>, client: &str) -> Result<ConnectionPermit, TooMany> {
        let mut permit = caps.admit()?;
        permit.count_for(client.parse().unwrap())?;
        Ok(permit)
    }

    #[test]
    fn one_address_cannot_take_everything() {
        let caps = caps(3, 2);
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
        let caps = caps(9, 1);
        let _held = admit(&caps, "2001:db8::1").unwrap();
        assert_eq!(
            admit(&caps, "2001:db8::ffff:2").unwrap_err(),
            TooMany::FromOneAddress
        );
        assert!(admit(&caps, "2001:db8:0:1::1").is_ok());
    }

    #[test]
    fn nothing_is_left_behind() {
        let caps = caps(9, 9);
        drop(admit(&caps, "192.0.2.1").unwrap());
        drop(caps.admit().unwrap());
        let proxy = caps.admit().unwrap();
        drop(proxy.begin_request_of("192.0.2.1".parse().unwrap()).unwrap());
        drop(proxy);
        assert!(caps.of_named.lock().unwrap().is_empty());
        let open = caps.open.lock().unwrap();
        assert_eq!((open.total, open.by_address.len()), (0, 0));
    }
}
