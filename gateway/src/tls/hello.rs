//! The first message of a client, read before anything is answered: for a name that is not served there is an alert
//! that says so, and no certificate (TLS-2).

use std::net::IpAddr;
use std::sync::Arc;

use rustls::server::Acceptor;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::listener::{ListenerTls, Served};

/// A fatal alert in clear, `unrecognized_name` (RFC 8446 §6, RFC 6066 §3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// What a client that begins to speak is answered with.
pub(crate) enum Greeting {
    /// The handshake goes on with this certificate. The name is the one asked for, in lower case.
    Served(Box<StartHandshake<TcpStream>>, Arc<Served>, Option<String>),
    /// Nothing is served under that name, or without one; the client was told.
    Unrecognized,
    /// It was no TLS, or the client went away.
    Broken,
}

/// Reads the first message and finds the certificate that it asks for.
pub(crate) async fn greet(socket: TcpStream, tls: &ListenerTls, local: Option<IpAddr>) -> Greeting {
    let mut first = LazyConfigAcceptor::new(Acceptor::default(), socket);
    let Ok(mut start) = (&mut first).await else {
        // What was wrong with it has been said.
        if let Some(mut socket) = first.take_io() {
            tell(&mut socket, &[]).await;
        }
        return Greeting::Broken;
    };
    let name = start.client_hello().server_name().map(str::to_ascii_lowercase);
    let Some(served) = tls.find(name.as_deref(), local) else {
        tell(&mut start.io, &UNRECOGNIZED_NAME).await;
        return Greeting::Unrecognized;
    };
    Greeting::Served(Box::new(start), served.clone(), name)
}

/// Says a last word and closes in order.
async fn tell(socket: &mut TcpStream, alert: &[u8]) {
    let said = async {
        socket.write_all(alert).await?;
        socket.shutdown().await
    };
    if let Err(error) = said.await {
        tracing::debug!(%error, "the client went away before its alert");
    }
}
