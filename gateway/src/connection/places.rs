//! Requests under way, each in a place of its own: from its head until its answer has left.
//!
//! A hundred streams of HTTP/2 hold as much as a hundred connections. So what a client may have under way is bounded over
//! all of its connections, whatever is spoken on them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Waker;

use futures::task::AtomicWaker;
use problem::catalogue;

use super::caps::{ConnectionPermit, NamedPlace, TooMany};
use super::framing::{Refusal, TOO_MANY_AT_ONCE};

/// Seconds after which a place may have become free.
const RETRY_S: u64 = 1;

/// The places that the requests of one connection have. While there is any, the connection counts as open.
#[derive(Debug)]
pub(super) struct Places {
    permit: ConnectionPermit,
    /// Streams that are answered, whose last bytes may still wait here for the client to read on.
    leaving: AtomicUsize,
    /// Whether bytes wait for the client to read on.
    is_stalled: AtomicBool,
    /// Who writes them.
    writer: AtomicWaker,
}

/// The right to one request under way; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    of: Arc<Places>,
    is_stream: bool,
}

impl Places {
    pub(super) const fn new(permit: ConnectionPermit) -> Self {
        Self {
            permit,
            leaving: AtomicUsize::new(0),
            is_stalled: AtomicBool::new(false),
            writer: AtomicWaker::new(),
        }
    }

    /// A place for the one request of a connection, which is written out when it ends. A WebSocket keeps it.
    ///
    /// # Errors
    /// When none is left.
    pub(super) fn of_connection(self: &Arc<Self>) -> Result<Place, Refusal> {
        self.take(false)
    }

    /// A place for one of the streams of a connection, which is kept until the connection has written all it had.
    ///
    /// # Errors
    /// When none is left.
    pub(super) fn of_stream(self: &Arc<Self>) -> Result<Place, Refusal> {
        self.take(true)
    }

    /// A place for a client that the proxy on this connection has named.
    ///
    /// # Errors
    /// When none is left to it.
    pub(super) fn of_named(&self, client: IpAddr) -> Result<NamedPlace, Refusal> {
        self.permit.begin_request_of(client).map_err(refusal)
    }

    fn take(self: &Arc<Self>, is_stream: bool) -> Result<Place, Refusal> {
        self.permit.begin_request().map_err(refusal)?;
        Ok(Place {
            of: self.clone(),
            is_stream,
        })
    }

    /// Whether a write waits for the client, or all of it has left.
    pub(super) fn stalls(&self, is_stalled: bool) {
        self.is_stalled.store(is_stalled, Ordering::Relaxed);
    }

    /// The library has written what it could. If nothing waits, the answers of streams that have ended have left.
    ///
    /// After a flush alone that would be too early: the library flushes behind each frame.
    pub(super) fn written(&self, writer: &Waker) {
        self.writer.register(writer);
        if !self.is_stalled.load(Ordering::Relaxed) && self.leaving.load(Ordering::Relaxed) > 0 {
            self.permit.end_requests(self.leaving.swap(0, Ordering::Relaxed));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_stream {
            self.of.leaving.fetch_add(1, Ordering::Relaxed);
            self.of.writer.wake();
        } else {
            self.of.permit.end_requests(1);
        }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.permit.end_requests(*self.leaving.get_mut());
    }
}

/// 429 is the client's own doing, and 503 is not.
const fn refusal(bound: TooMany) -> Refusal {
    let refusal = match bound {
        TooMany::InAll => Refusal::new(
            catalogue::UNAVAILABLE,
            "connections.max_in_flight",
            "too many requests are under way; try again later",
        ),
        TooMany::FromOneAddress | TooMany::Handshakes => Refusal::new(
            TOO_MANY_AT_ONCE,
            "connections.max_in_flight_per_address",
            "too many requests of yours are under way; wait for their answers",
        ),
    };
    Refusal {
        retry_after_s: Some(RETRY_S),
        ..refusal
    }
}

#[cfg(test)]
mod tests {
    use super::super::caps::ConnectionCaps;
    use super::*;
    use crate::settings::ConnectionSettings;

    fn connection(caps: &Arc<ConnectionCaps>, client: &str) -> Arc<Places> {
        let mut permit = caps.admit().unwrap();
        permit.count_for(client.parse().unwrap()).unwrap();
        Arc::new(Places::new(permit))
    }

    fn caps(max_in_flight: usize, max_in_flight_per_address: usize) -> Arc<ConnectionCaps> {
        ConnectionCaps::new(ConnectionSettings {
            max_in_flight,
            max_in_flight_per_address,
            ..ConnectionSettings::default()
        })
    }

    #[test]
    fn a_client_is_bounded_over_its_connections_and_all_together_are_too() {
        let caps = caps(3, 2);
        let (one, two) = (connection(&caps, "2001:db8::1"), connection(&caps, "2001:db8::2"));
        let first = one.of_connection().unwrap();
        let _second = two.of_stream().unwrap();
        for same in [&one, &two] {
            let refusal = same.of_stream().unwrap_err();
            assert_eq!(refusal.rule, "connections.max_in_flight_per_address");
            assert_eq!(refusal.problem().status(), 429);
        }
        let other = connection(&caps, "192.0.2.1");
        let third = other.of_connection().unwrap();
        let refusal = other.of_connection().unwrap_err();
        assert_eq!(refusal.rule, "connections.max_in_flight");
        assert_eq!(refusal.problem().status(), 503);
        drop(first);
        let _third = (third, other.of_connection().unwrap());
        // What was refused over all has cost its client nothing.
        drop(_third);
        assert!(other.of_connection().is_ok());
    }

    #[test]
    fn the_place_of_a_stream_is_kept_until_its_answer_has_left_or_the_connection_is_gone() {
        let caps = caps(9, 2);
        let places = connection(&caps, "192.0.2.1");
        drop(places.of_stream().unwrap());
        let last = places.of_stream().unwrap();
        assert!(places.of_stream().is_err());
        places.stalls(true);
        places.written(Waker::noop());
        assert!(places.of_stream().is_err(), "the client does not read");
        places.stalls(false);
        places.written(Waker::noop());
        let again = places.of_stream().unwrap();
        drop((last, again));
        assert!(places.of_stream().is_err(), "nothing has left since");

        let same_client = connection(&caps, "192.0.2.1");
        assert!(same_client.of_stream().is_err());
        drop(places);
        assert!(same_client.of_connection().is_ok());
    }

    #[test]
    fn a_connection_counts_as_open_while_a_request_of_it_is_under_way() {
        let bounds = ConnectionSettings {
            max_per_address: 1,
            ..ConnectionSettings::default()
        };
        let caps = ConnectionCaps::new(bounds);
        let places = connection(&caps, "192.0.2.1");
        let under_way = places.of_stream().unwrap();
        drop(places);
        let mut more = caps.admit().unwrap();
        assert!(more.count_for("192.0.2.1".parse().unwrap()).is_err());
        drop(under_way);
        assert!(more.count_for("192.0.2.1".parse().unwrap()).is_ok());
    }
}
