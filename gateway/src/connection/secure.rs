//! TLS of a client, around its socket.
//!
//! Pingora's own stream holds room for three of rustls' state machines, of which one is in use: three KiB for each
//! connection, for as long as it is open.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::protocols::l4::stream::Stream as TransportStream;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A socket behind a finished handshake.
#[derive(Debug)]
pub(super) struct SecureStream(TlsStream<TransportStream>);

impl SecureStream {
    /// Shakes hands.
    ///
    /// # Errors
    /// What was wrong with it, or that the client went away.
    pub(super) async fn accept(config: Arc<ServerConfig>, socket: TransportStream) -> io::Result<Self> {
        TlsAcceptor::from(config).accept(socket).await.map(Self)
    }

    /// What the handshake came to.
    pub(super) fn session(&self) -> &ServerConnection {
        self.0.get_ref().1
    }

    fn socket(&self) -> &TransportStream {
        self.0.get_ref().0
    }
}

impl AsyncRead for SecureStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for SecureStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for SecureStream {
    async fn shutdown(&mut self) {
        if let Err(error) = self.0.shutdown().await {
            tracing::debug!(%error, "the client was gone before the connection closed");
        }
    }
}

impl UniqueID for SecureStream {
    fn id(&self) -> UniqueIDType {
        self.socket().id()
    }
}

impl Ssl for SecureStream {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.session().alpn_protocol().map(|protocol| match protocol {
            b"h2" => ALPN::H2,
            _ => ALPN::H1,
        })
    }
}

impl GetTimingDigest for SecureStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.socket().get_timing_digest()
    }
}

impl GetProxyDigest for SecureStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.socket().get_proxy_digest()
    }
}

impl GetSocketDigest for SecureStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.socket().get_socket_digest()
    }
}

impl Peek for SecureStream {}
