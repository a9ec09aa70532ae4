//! One address of an upstream, and what is known of it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use policy::{HealthCheck, UpstreamAddress};
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite};

use super::recent::Recent;
use super::resting::{Connect, IDLE, Way};
use super::socket::{Location, Socket};
use super::{PoolTls, millis, now_ms};
use crate::metrics::METRICS;
use crate::tls::{UpstreamTlsSlot, upstream_failure};

/// An address that goes on failing is ejected for at most so many times its first time, as a power of two.
const MOST_DOUBLINGS: u32 = 4;

/// What is told of an address while there is nothing to verify it with.
pub(crate) const NO_IDENTITY: &str = "the files that its TLS is made of are missing, wrong or have ended";

/// A connection, of whatever kind.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One address.
pub(crate) struct Endpoint {
    /// A number that no other address of this process has.
    pub(super) id: u64,
    upstream: String,
    /// What it is called in metrics and the log.
    label: String,
    /// How the policy writes it: the address itself, or the name that has it.
    pub(super) written: UpstreamAddress,
    pub(super) location: Location,
    /// The peer, without timeouts.
    peer: HttpPeer,
    /// Who it must be, where that is asked for.
    tls: Option<Arc<UpstreamTlsSlot>>,
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
    /// Requests that it has begun to answer.
    pub(super) answers: AtomicU64,
    /// How its last requests ended, where a breaker asks for it.
    pub(super) recent: Recent,
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
        tls: Option<&PoolTls>,
    ) -> anyhow::Result<Arc<Self>> {
        let same = |known: &&Arc<Self>| {
            known.location == location && known.written == *written && known.is_verified_by(tls)
        };
        match known.iter().find(same) {
            Some(same) => Ok(same.clone()),
            None => Self::new(upstream, written, location, tls).map(Arc::new),
        }
    }

    /// Whether its connections are made under this rule.
    pub(super) fn is_verified_by(&self, tls: Option<&PoolTls>) -> bool {
        match (&self.tls, tls) {
            (Some(own), Some(tls)) => Arc::ptr_eq(own, &tls.slot),
            (own, tls) => own.is_none() && tls.is_none(),
        }
    }

    fn new(
        upstream: &str,
        written: &UpstreamAddress,
        location: Location,
        tls: Option<&PoolTls>,
    ) -> anyhow::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
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
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            upstream: upstream.to_owned(),
            label,
            written: written.clone(),
            location,
            peer,
            tls: tls.map(|tls| tls.slot.clone()),
            in_flight,
            is_up,
            is_well: AtomicBool::new(true),
            contradictions: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until_ms: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            recent: Recent::default(),
        })
    }

    /// What it is called in metrics and the log.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Opens a connection of its own.
    ///
    /// # Errors
    /// When the address does not take it.
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Io>> {
        let identity = self.tls.as_ref().map(|tls| tls.current().ok_or(NO_IDENTITY));
        let identity = identity.transpose().map_err(io::Error::other)?;
        let socket = Socket::connect(&self.location).await?;
        let Some(identity) = identity else {
            return Ok(Box::new(socket));
        };
        let secured = socket.secure(&identity).await.inspect_err(|error| {
            self.note_tls_failure(&error.to_string());
        })?;
        Ok(Box::new(secured))
    }

    /// The peer, and the way to it; `None` while the gateway has nothing to verify it with. Connecting
    /// may take so long, and the whole exchange until `deadline`.
    pub(crate) fn peer(
        self: &Arc<Self>,
        patience: Duration,
        deadline: Option<Instant>,
    ) -> Option<(Box<HttpPeer>, Arc<Way>)> {
        let identity = match &self.tls {
            Some(tls) => Some(tls.current()?),
            None => None,
        };
        let mut peer = Box::new(self.peer.clone());
        // Its own way keeps the time, and speaks TLS: pingora would copy the futures of both.
        let way = Way::to(self, identity, patience, deadline);
        peer.options.custom_l4 = Some(Arc::new(Connect(way.clone())));
        Some((peer, way))
    }

    /// Counts and tells what went wrong if that was TLS; whether it was.
    pub(crate) fn note_tls_failure(&self, error: &str) -> bool {
        let Some(reason) = self.tls.as_ref().and_then(|_| upstream_failure(error)) else {
            return false;
        };
        METRICS
            .upstream_tls_failures
            .with_label_values(&[self.upstream.as_str(), reason])
            .inc();
        tracing::warn!(
            upstream = self.upstream,
            address = self.label,
            reason,
            error,
            "TLS with the upstream failed: nothing is sent over this connection"
        );
        true
    }

    /// What is known of it, for operators.
    pub(super) fn status(&self, now: u64) -> serde_json::Value {
        serde_json::json!({
            "address": self.label,
            "is_up": self.can_serve(now),
            "in_flight": self.in_flight.get(),
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

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({} {})", self.upstream, self.label)
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

/// As pingora knows it, which is in clear: TLS is spoken below.
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
    // Fields of the client's connection are removed with the others, in `proxy::upstream_request`.
    peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
    Ok(peer)
}
