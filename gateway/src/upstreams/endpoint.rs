//! One address of an upstream, and what is known of it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use policy::{HealthCheck, UpstreamAddress};
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::{millis, now_ms};
use crate::metrics::METRICS;

/// Pooled connections are closed after this long without a request, before the upstream would.
const IDLE: Duration = Duration::from_secs(30);
/// An address that goes on failing is ejected for at most so many times its first time, as a power of two.
const MOST_DOUBLINGS: u32 = 4;

/// A connection, of whatever kind.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Location {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// One address.
pub(crate) struct Endpoint {
    upstream: String,
    /// What it is called in metrics and the log.
    label: String,
    /// How the policy writes it: the address itself, or the name that has it.
    pub(super) written: UpstreamAddress,
    pub(super) location: Location,
    /// The peer, without timeouts.
    pub(crate) peer: HttpPeer,
    /// Requests that are under way to it.
    pub(super) in_flight: IntGauge,
    is_up: IntGauge,
    /// What health checks say; good until they have said something else.
    is_well: AtomicBool,
    /// Answers in a row that contradict `is_well`.
    contradictions: AtomicU32,
    /// Failed requests in a row.
    failures: AtomicU32,
    /// Ejections since the last request that succeeded.
    ejections: AtomicU32,
    ejected_until_ms: AtomicU64,
}

impl Endpoint {
    /// The one that is known already, or a new one.
    ///
    /// # Errors
    /// When a socket path cannot be one.
    pub(super) fn known_or_new(
        known: &[Arc<Self>],
        upstream: &str,
        written: &UpstreamAddress,
        location: Location,
    ) -> anyhow::Result<Arc<Self>> {
        let same = |known: &&Arc<Self>| known.location == location && known.written == *written;
        match known.iter().find(same) {
            Some(same) => Ok(same.clone()),
            None => Self::new(upstream, written, location).map(Arc::new),
        }
    }

    fn new(upstream: &str, written: &UpstreamAddress, location: Location) -> anyhow::Result<Self> {
        let peer = peer(&location).with_context(|| format!("upstream {upstream}"))?;
        let label = match (written, &location) {
            (UpstreamAddress::Name { host, .. }, Location::Tcp(address)) => format!("{host}/{address}"),
            _ => written.to_string(),
        };
        let labels = [upstream, label.as_str()];
        let (in_flight, is_up) = (
            METRICS.upstream_in_flight.with_label_values(&labels),
            METRICS.upstream_up.with_label_values(&labels),
        );
        is_up.set(1);
        Ok(Self {
            upstream: upstream.to_owned(),
            label,
            written: written.clone(),
            location,
            peer,
            in_flight,
            is_up,
            is_well: AtomicBool::new(true),
            contradictions: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until_ms: AtomicU64::new(0),
        })
    }

    /// Opens a connection of its own.
    ///
    /// # Errors
    /// When the address does not take it.
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Io>> {
        Ok(match &self.location {
            Location::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Location::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        })
    }

    /// Whether it gets requests.
    pub(super) fn can_serve(&self, now: u64) -> bool {
        self.is_well.load(Ordering::Relaxed) && self.ejected_until_ms.load(Ordering::Relaxed) <= now
    }

    /// A request was answered whole.
    pub(super) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.ejections.load(Ordering::Relaxed) != 0 && self.can_serve(now_ms()) {
            self.ejections.store(0, Ordering::Relaxed);
            self.report();
        }
    }

    /// A request failed; returns how many have in a row.
    pub(super) fn failed(&self) -> u32 {
        self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Gives it no requests for a while: longer each time, until one succeeds.
    pub(super) fn eject(&self, now: u64, first: Duration) {
        if self.ejected_until_ms.load(Ordering::Relaxed) > now {
            return;
        }
        let before = self.ejections.fetch_add(1, Ordering::Relaxed).min(MOST_DOUBLINGS);
        let time = millis(first).saturating_mul(1_u64.wrapping_shl(before));
        self.ejected_until_ms
            .store(now.saturating_add(time), Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        let labels = [self.upstream.as_str(), self.label.as_str()];
        METRICS.upstream_ejections.with_label_values(&labels).inc();
        self.is_up.set(0);
        tracing::warn!(
            upstream = self.upstream,
            address = self.label,
            ejected_ms = time,
            "an address fails requests: it gets none for a while"
        );
    }

    /// Ends its ejection before the time; whether it can serve because of that.
    pub(super) fn pardon(&self, now: u64) -> bool {
        let is_ejected = self.ejected_until_ms.swap(0, Ordering::Relaxed) > now;
        self.report();
        is_ejected && self.can_serve(now)
    }

    /// A health check has been answered.
    pub(super) fn observe(&self, answer: Result<(), String>, check: &HealthCheck) {
        let is_well = self.is_well.load(Ordering::Relaxed);
        if answer.is_ok() == is_well {
            self.contradictions.store(0, Ordering::Relaxed);
            self.report();
            return;
        }
        let needed = if is_well { check.failures } else { check.successes };
        let in_a_row = self
            .contradictions
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        if in_a_row < needed {
            return;
        }
        self.contradictions.store(0, Ordering::Relaxed);
        self.is_well.store(!is_well, Ordering::Relaxed);
        self.report();
        let (upstream, address) = (self.upstream.as_str(), self.label.as_str());
        match answer {
            Ok(()) => tracing::info!(upstream, address, "the address is well again"),
            Err(reason) => tracing::warn!(
                upstream,
                address,
                reason,
                "the address is ill: it gets no requests"
            ),
        }
    }

    /// Without health checks there is nobody to say that it is ill.
    pub(super) fn trust(&self) {
        self.is_well.store(true, Ordering::Relaxed);
        self.contradictions.store(0, Ordering::Relaxed);
        self.report();
    }

    /// Keeps the metric true.
    pub(super) fn report(&self) {
        self.is_up.set(i64::from(self.can_serve(now_ms())));
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let labels = [self.upstream.as_str(), self.label.as_str()];
        // Fails only when the metric is gone already.
        let _ = METRICS.upstream_up.remove_label_values(&labels);
        let _ = METRICS.upstream_in_flight.remove_label_values(&labels);
    }
}

fn peer(location: &Location) -> anyhow::Result<HttpPeer> {
    let mut peer = match location {
        Location::Tcp(address) => HttpPeer::new(address, false, String::new()),
        Location::Unix(path) => {
            let text = path.to_str().context("the path is not UTF-8")?;
            HttpPeer::new_uds(text, false, String::new())
                .map_err(|error| anyhow::anyhow!("{text}: {error}"))?
        }
    };
    peer.options.idle_timeout = Some(IDLE);
    peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    Ok(peer)
}
