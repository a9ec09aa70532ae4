//! Accepting connections, and closing a listener without resetting whoever has already reached it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::entrance::Entrance;
use super::worker::Worker;
use crate::connection::{self, Admitted, caps::ConnectionCaps};
use crate::listen;

/// Waiting after `accept` fails, which it does when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What a handshake of TCP that has begun may still take: it lacks one round trip.
const ROUND_TRIP: Duration = Duration::from_millis(100);

/// One listening socket's way into a worker.
pub(super) struct Door {
    pub(super) worker: Arc<Worker>,
    pub(super) entrance: Arc<Entrance>,
    pub(super) caps: Arc<ConnectionCaps>,
}

impl Door {
    /// Accepts until the drain begins, and closes the socket then.
    pub(super) async fn accept(self, socket: std::net::TcpListener) {
        let listener = match TcpListener::from_std(socket) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, listener = self.entrance.label, "the listener cannot be used");
                self.worker.shutdown.trigger();
                return;
            }
        };
        let drain = &self.worker.shared.drain;
        tokio::select! {
            biased;
            () = drain.begun() => {}
            () = self.accept_all(&listener) => {}
        }
        drain.sockets().forget();
        // After a hand-over the other process has the same socket, with all that wait in it.
        if !drain.is_handed_over() {
            self.close(listener).await;
        }
    }

    async fn accept_all(&self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => self.admit(socket, peer),
                Err(error) => {
                    tracing::warn!(%error, listener = self.entrance.label, "a connection could not be accepted");
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "without file descriptors, accepting at once would spin"
                    )]
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, socket: TcpStream, peer: SocketAddr) {
        let (worker, entrance) = (self.worker.clone(), self.entrance.clone());
        let admitted = Admitted::new(&worker.shared, &entrance, &self.caps, peer.ip().to_canonical());
        match admitted {
            Ok(admitted) => {
                let serving = connection::serve(worker, entrance, socket, admitted);
                self.worker.shared.drain.spawn(serving);
            }
            Err(refused) => refused.count(),
        }
    }

    /// The kernel resets what waits in a socket that closes, and handshakes that are not over. So no handshake begins any
    /// more, those that have begun get the time for it, and all that wait are taken before the socket closes.
    async fn close(&self, listener: TcpListener) {
        if let Err(error) = listen::begin_no_handshakes(&listener) {
            tracing::warn!(%error, listener = self.entrance.label, "connections that come now are reset");
        }
        // Never ends by itself.
        let _ = timeout(ROUND_TRIP, self.accept_all(&listener)).await;
        if let Err(error) = self.accept_waiting(listener) {
            tracing::warn!(%error, listener = self.entrance.label, "connections that wait are reset");
        }
    }

    /// Asks the socket itself: what tokio knows of it is as old as its last look.
    fn accept_waiting(&self, listener: TcpListener) -> std::io::Result<()> {
        let listener = listener.into_std()?;
        loop {
            match listener.accept() {
                Ok((socket, peer)) => {
                    socket.set_nonblocking(true)?;
                    self.admit(TcpStream::from_std(socket)?, peer);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                // The client has gone meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
