//! A socket to an upstream, in clear or over TLS.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::tls::UpstreamIdentity;

/// Most bytes of one read. Pingora keeps up to nine reads of an answer for a client that is slower than the upstream, and
/// would read 64 KiB at a time.
const READ: usize = 16 * 1024;

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Location {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// A connected socket.
#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
    /// Over one of the others.
    Tls(Box<TlsStream<Socket>>),
}

impl Socket {
    /// Opens a connection.
    ///
    /// # Errors
    /// When nobody takes it there.
    pub(super) async fn connect(location: &Location) -> io::Result<Self> {
        Ok(match location {
            Location::Unix(path) => Self::Unix(UnixStream::connect(path).await?),
            Location::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Self::Tcp(stream)
            }
        })
    }

    /// Speaks TLS over it from now on.
    ///
    /// # Errors
    /// When the other side is not who it must be, or does not take the gateway for who it is.
    pub(super) async fn secure(self, identity: &UpstreamIdentity) -> io::Result<Self> {
        let (connector, name) = identity.connector();
        let stream = connector.connect(name.clone(), self).await?;
        Ok(Self::Tls(Box::new(stream)))
    }

    /// Whether it is open, and nothing has come that was not read. Does not wait.
    pub(super) fn is_silent(&self) -> bool {
        let mut byte = [0];
        let read = match self {
            Self::Unix(stream) => stream.try_read(&mut byte),
            Self::Tcp(stream) => stream.try_read(&mut byte),
            Self::Tls(stream) => {
                let (socket, session) = stream.get_ref();
                // Without anything left of what was decrypted.
                return session.wants_read() && socket.is_silent();
            }
        };
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let most = buf.remaining().min(READ);
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        ready!(match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, &mut part),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut part),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, &mut part),
        })?;
        let read = part.filled().len();
        buf.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
