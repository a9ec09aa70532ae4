//! The first message of a client, read before anything is answered: for a name that is not served there is an alert
//! that says so, and no certificate (TLS-2).

use std::net::IpAddr;
use std::sync::Arc;

use pingora::protocols::l4::stream::Stream as TransportStream;
use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::listener::{ListenerTls, Served};

/// Bytes that are read at a time; most first messages fit.
const READ: usize = 4 * 1024;
/// A fatal alert in clear, `unrecognized_name` (RFC 8446 §6, RFC 6066 §3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// What a client that begins to speak is answered with.
pub(crate) enum Greeting {
    /// The handshake goes on with this certificate. The name is the one asked for, in lower case.
    Served(Arc<Served>, Option<String>),
    /// Nothing is served under that name, or without one; the client was told.
    Unrecognized,
    /// It was no TLS, or the client went away.
    Broken,
}

/// Reads the first message and finds the certificate that it asks for. The bytes stay for the handshake.
pub(crate) async fn greet(
    socket: &mut TransportStream,
    tls: &ListenerTls,
    local: Option<IpAddr>,
) -> Greeting {
    let mut acceptor = Acceptor::default();
    let mut bytes = Vec::new();
    let mut chunk = [0; READ];
    loop {
        let Ok(read) = socket.read(&mut chunk).await else {
            return Greeting::Broken;
        };
        let Some(mut fresh) = chunk.get(..read).filter(|fresh| !fresh.is_empty()) else {
            return Greeting::Broken;
        };
        bytes.extend_from_slice(fresh);
        while !fresh.is_empty() {
            if acceptor.read_tls(&mut fresh).is_err() {
                return Greeting::Broken;
            }
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let name = accepted.client_hello().server_name().map(str::to_ascii_lowercase);
                let Some(served) = tls.find(name.as_deref(), local) else {
                    tell(socket, &UNRECOGNIZED_NAME).await;
                    return Greeting::Unrecognized;
                };
                socket.rewind(&bytes);
                return Greeting::Served(served.clone(), name);
            }
            Err((_, mut alert)) => {
                let mut said = Vec::new();
                if alert.write_all(&mut said).is_ok() {
                    tell(socket, &said).await;
                }
                return Greeting::Broken;
            }
        }
    }
}

/// Says a last word and closes in order.
async fn tell(socket: &mut TransportStream, alert: &[u8]) {
    let said = async {
        socket.write_all(alert).await?;
        socket.flush().await?;
        socket.shutdown().await
    };
    if let Err(error) = said.await {
        tracing::debug!(%error, "the client went away before its alert");
    }
}
