//! Names of upstreams: looked up again and again, so that the gateway follows where they point.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use policy::UpstreamAddress;
use service_runtime::shutdown::Shutdown;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Pool;
use super::endpoint::Endpoint;
use super::socket::Location;

/// Between two lookups.
const EVERY: Duration = Duration::from_secs(5);
/// How long one may take.
const AT_MOST: Duration = Duration::from_secs(5);
/// More addresses of one name are left out, so that an answer cannot fill the memory.
const MOST_ADDRESSES: usize = 64;

/// Follows the names of a pool, if it has any.
pub(super) fn follow(pool: &Arc<Pool>, shutdown: &Shutdown) {
    let mut addresses = pool.upstream.addresses();
    if addresses.any(|address| matches!(address, UpstreamAddress::Name { .. })) {
        shutdown.spawn(look_again(Arc::downgrade(pool), shutdown.clone()));
    }
}

async fn look_again(pool: Weak<Pool>, shutdown: Shutdown) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let Some(names) = pool.upgrade().map(|pool| names(&pool)) else {
            return;
        };
        for name in names {
            let UpstreamAddress::Name { host, port, .. } = &name else {
                continue;
            };
            let found = tokio::select! {
                () = shutdown.cancelled() => return,
                found = timeout(AT_MOST, tokio::net::lookup_host((host.as_str(), *port))) => found,
            };
            let Some(pool) = pool.upgrade() else { return };
            let found: Vec<SocketAddr> = match found {
                Ok(Ok(found)) => found.take(MOST_ADDRESSES).collect(),
                Ok(Err(error)) => {
                    tracing::warn!(host, %error, "the name of an upstream cannot be looked up: the last answer holds");
                    continue;
                }
                Err(_) => {
                    tracing::warn!(
                        host,
                        "looking up the name of an upstream takes too long: the last answer holds"
                    );
                    continue;
                }
            };
            pool.adopt(&name, found);
        }
        if let Some(pool) = pool.upgrade() {
            pool.looked_up.notify_waiters();
        }
    }
}

fn names(pool: &Pool) -> Vec<UpstreamAddress> {
    let is_name = |address: &&UpstreamAddress| matches!(address, UpstreamAddress::Name { .. });
    pool.upstream.addresses().filter(is_name).cloned().collect()
}

impl Pool {
    /// Puts the addresses of a name in place of those that it had. An empty answer changes nothing.
    pub(super) fn adopt(&self, name: &UpstreamAddress, mut found: Vec<SocketAddr>) {
        // `localhost` is allowed in production because it stays on this machine: so it must.
        found.retain(|address| !name.is_local() || address.ip().is_loopback());
        found.sort_unstable();
        found.dedup();
        if found.is_empty() {
            return;
        }
        let known = self.endpoints.load_full();
        let now: Vec<&Location> = known
            .iter()
            .filter(|endpoint| endpoint.written == *name)
            .map(|endpoint| &endpoint.location)
            .collect();
        let found: Vec<Location> = found.into_iter().map(Location::Tcp).collect();
        if now.iter().copied().eq(found.iter()) {
            return;
        }
        let others = known.iter().filter(|endpoint| endpoint.written != *name);
        let mut endpoints: Vec<Arc<Endpoint>> = others.cloned().collect();
        for location in found {
            match Endpoint::known_or_new(&known, &self.upstream.name, name, location, self.tls.as_ref()) {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(error) => tracing::error!(error = format!("{error:#}"), "an address cannot be used"),
            }
        }
        tracing::info!(
            upstream = self.upstream.name,
            name = %name,
            addresses = endpoints.len(),
            "the name of an upstream points elsewhere now"
        );
        // Names of one pool are looked up one after the other: nobody else writes here.
        self.endpoints.store(Arc::new(endpoints));
    }
}
