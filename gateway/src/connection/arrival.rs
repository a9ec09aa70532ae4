//! Whose a connection is, and whether it may have one more: told by its peer, or by a trusted proxy in front of it.

use std::net::IpAddr;
use std::sync::Arc;

use policy::{ClientSource, Listener, TrustedProxies};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::announced::{self, Announced};
use super::caps::{ConnectionCaps, ConnectionPermit, TooMany, network};
use crate::metrics::METRICS;
use crate::server::{Entrance, Shared};

/// A connection that may be served once it is known whose it is.
pub(crate) struct Admitted {
    peer: IpAddr,
    permit: ConnectionPermit,
    /// The trust in its peer, which is a proxy.
    proxies: Option<TrustedProxies>,
}

/// Whose a connection is.
pub(super) struct Client {
    pub(super) address: IpAddr,
    pub(super) permit: ConnectionPermit,
    /// Set where its requests say which client they are of.
    pub(super) relays: Option<TrustedProxies>,
}

/// Why a connection is closed without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    TooMany(TooMany),
    /// Only trusted proxies may connect, and this is none.
    Stranger,
    /// A trusted proxy did not say which client it has connected for.
    Unannounced,
}

impl Refused {
    /// Counts it.
    pub(crate) fn count(self) {
        let reason = match self {
            Self::TooMany(bound) => bound.as_str(),
            Self::Stranger => "stranger",
            Self::Unannounced => "unannounced",
        };
        METRICS.connections_refused.with_label_values(&[reason]).inc();
    }
}

impl From<TooMany> for Refused {
    fn from(bound: TooMany) -> Self {
        Self::TooMany(bound)
    }
}

impl Admitted {
    /// Takes one of the connections that are left.
    ///
    /// # Errors
    /// When there is none for this peer, or nothing is taken from it.
    pub(crate) fn new(
        shared: &Shared,
        entrance: &Entrance,
        caps: &Arc<ConnectionCaps>,
        peer: IpAddr,
    ) -> Result<Self, Refused> {
        let snapshot = shared.policies.current();
        let is_ours = |listener: &&Arc<Listener>| listener.name == entrance.listener;
        let listener = snapshot.plan.listeners().iter().find(is_ours);
        let proxies = listener.and_then(|listener| listener.trusted_proxies.as_ref());
        let trusted = proxies.filter(|proxies| proxies.trusts(peer));
        let must_be_trusted = proxies.is_some_and(|proxies| proxies.client == ClientSource::ProxyProtocol);
        if must_be_trusted && trusted.is_none() {
            return Err(Refused::Stranger);
        }
        let mut permit = caps.admit()?;
        if trusted.is_none() {
            count(shared, entrance, &mut permit, peer)?;
        }
        Ok(Self {
            peer,
            permit,
            proxies: trusted.cloned(),
        })
    }

    /// Waits until it is known whose it is.
    ///
    /// # Errors
    /// When that is not said in time, or the client has no connection left.
    pub(super) async fn client(
        self,
        shared: &Shared,
        entrance: &Entrance,
        socket: &mut TcpStream,
    ) -> Result<Client, Refused> {
        let mut client = Client {
            address: self.peer,
            permit: self.permit,
            relays: self.proxies,
        };
        if client
            .relays
            .as_ref()
            .is_some_and(|proxies| proxies.client == ClientSource::ProxyProtocol)
        {
            client.relays = None;
            let limit = shared.connections.handshake_timeout();
            match timeout(limit, announced::read(socket)).await {
                Ok(Ok(Announced::Client(address))) => {
                    client.address = address.to_canonical();
                    count(shared, entrance, &mut client.permit, client.address)?;
                }
                Ok(Ok(Announced::Itself)) => {}
                Ok(Err(_)) | Err(_) => return Err(Refused::Unannounced),
            }
        }
        Ok(client)
    }
}

/// One connection more of this client, and with TLS one handshake.
fn count(
    shared: &Shared,
    entrance: &Entrance,
    permit: &mut ConnectionPermit,
    client: IpAddr,
) -> Result<(), Refused> {
    permit.count_for(client)?;
    if entrance.tls.is_some() && !shared.handshakes.admit(network(client)) {
        return Err(TooMany::Handshakes.into());
    }
    Ok(())
}
