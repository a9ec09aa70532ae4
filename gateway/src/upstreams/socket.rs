//! A socket to an upstream, in clear or over TLS.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::RecvFlags;
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
    Tls(Box<TlsStream<Carrier>>),
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
        let carrier = Carrier {
            socket: self,
            records: Records::default(),
        };
        let stream = connector.connect(name.clone(), carrier).await?;
        Ok(Self::Tls(Box::new(stream)))
    }

    /// Whether it is open, and nothing has come that was not read. The kernel is asked, and does not wait: the runtime knows of
    /// bytes only once it has looked.
    pub(super) fn is_silent(&self) -> bool {
        let waiting = |socket: BorrowedFd<'_>| {
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            rustix::net::recv(socket, &mut [0_u8; 1], flags).map(drop)
        };
        let found = match self {
            Self::Unix(stream) => waiting(stream.as_fd()),
            Self::Tcp(stream) => waiting(stream.as_fd()),
            Self::Tls(stream) => return self.is_read_up() && stream.get_ref().0.socket.is_silent(),
        };
        found == Err(Errno::AGAIN)
    }

    /// Whether nothing is left of what was read: nothing that was decrypted, or waits for the rest of its record to be.
    pub(super) fn is_read_up(&self) -> bool {
        match self {
            Self::Unix(_) | Self::Tcp(_) => true,
            Self::Tls(stream) => {
                let (carrier, session) = stream.get_ref();
                session.wants_read() && !carrier.records.is_within()
            }
        }
    }
}

/// What carries TLS: it knows whether the bytes that were read end with a record.
#[derive(Debug)]
pub(super) struct Carrier {
    socket: Socket,
    records: Records,
}

/// A place in a stream of TLS records (RFC 8446 §5.1).
#[derive(Debug, Default)]
struct Records {
    /// Bytes of the header of a record that were read: its type, two of a version, two of its length.
    header: u8,
    /// Bytes of the record that are still to come, as far as its header says.
    left: u16,
}

impl Records {
    fn read(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.header == 0 && self.left > 0 {
                let now = usize::from(self.left).min(bytes.len());
                self.left = self.left.saturating_sub(u16::try_from(now).unwrap_or(u16::MAX));
                bytes = bytes.get(now..).unwrap_or_default();
                continue;
            }
            match self.header {
                3 => self.left = u16::from(*first) << 8,
                4 => self.left |= u16::from(*first),
                _ => {}
            }
            self.header = if self.header == 4 {
                0
            } else {
                self.header.saturating_add(1)
            };
            bytes = rest;
        }
    }

    /// Whether part of a record was read, and its rest was not.
    const fn is_within(&self) -> bool {
        self.header > 0 || self.left > 0
    }
}

impl AsyncRead for Carrier {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
        this.records.read(buf.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_over_where_its_header_says_however_it_is_cut() {
        let long = [&[23, 3, 3, 1, 2][..], &[0; 258]].concat();
        let stream = [
            &[22, 3, 3, 0, 2, 9, 9][..],
            &[20, 3, 3, 0, 0],
            &long,
            &[23, 3, 3, 0, 1, 7],
        ]
        .concat();
        let ends = [0, 7, 12, 12 + long.len(), stream.len()];
        for most in [1, 2, 3, 7, 300] {
            let (mut records, mut read) = (Records::default(), 0);
            assert!(!records.is_within());
            for piece in stream.chunks(most) {
                records.read(piece);
                read += piece.len();
                assert_eq!(
                    records.is_within(),
                    !ends.contains(&read),
                    "{read} in pieces of {most}"
                );
            }
        }
    }
}
