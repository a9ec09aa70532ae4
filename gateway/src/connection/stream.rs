//! The byte stream under pingora's HTTP session: heads are read ahead of it, writes are gathered, stalls are cut, and
//! what pingora would answer by itself is replaced.
//!
//! **Invariant:** pingora reads the bytes of the request at hand and no others. It would take the next request, sent
//! early, for a fault of the client, and drop the answer to this one.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, BytesMut};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown as ShutdownStream, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use problem::catalogue;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::Connection;
use super::chunks::Chunks;
use super::frames::{Code, Frames, Said};
use super::framing::Refusal;
use super::head::{self, HeadLimits, Scanner};
use super::refusal::{Page, charged};
use crate::server::Shared;

/// Bytes that are gathered before they are written; one TLS record.
const GATHER: usize = 16 * 1024;
/// Bytes that are read at a time.
const READ: usize = 4 * 1024;
/// A client that takes nothing for this long is cut off.
const STALL: Duration = Duration::from_secs(30);
/// After our end of the connection is closed, what the client still sends is read for this long, and this much: closing
/// at once would reset the connection, and the client might lose the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

const LATE_HEAD: Refusal = Refusal::new(
    catalogue::REQUEST_TIMEOUT,
    "floor.timeouts.head",
    "the request head took too long",
);
const BROKEN_FRAMES: Refusal = Refusal::malformed("FR-11", "the frames break HTTP/2");

/// What comes next on an HTTP/1 connection.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A head that keeps the rules; pingora can read it.
    Head,
    /// A head that does not.
    Refused(Refusal),
    /// Nothing more: the client has gone.
    Closed,
    /// Nothing more is waited for.
    Ended,
}

/// A connection to a client, in clear or not.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Io for T {}

pub(super) struct EdgeStream {
    io: Box<dyn Io>,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
    /// Read from the socket, and not yet by pingora.
    incoming: BytesMut,
    /// What is left of the request at hand.
    left: Left,
    /// Written by pingora, and not yet to the socket.
    outgoing: BytesMut,
    stalled: Option<Pin<Box<Sleep>>>,
    /// The frames of HTTP/2.
    frames: Option<Box<Frames>>,
    /// When the head that has begun in frames must be over.
    head_deadline: Option<Pin<Box<Sleep>>>,
    /// Whether the frames of the client have ended the connection.
    is_over: bool,
    /// Set once our end is closed.
    linger: Option<Linger>,
}

/// What is left of a request.
enum Left {
    /// This many bytes.
    Bytes(u64),
    /// A head of this many bytes, and chunks behind it.
    Chunks(u64, Chunks),
    /// Nobody knows: HTTP/2, and what is spoken after an upgrade.
    Unknown,
}

struct Linger {
    until: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl Linger {
    fn new() -> Self {
        let until = Instant::now().checked_add(LINGER).unwrap_or_else(Instant::now);
        Self {
            until: Box::pin(sleep_until(until)),
            bytes_left: LINGER_BYTES,
        }
    }
}

impl EdgeStream {
    pub(super) fn new(io: Box<dyn Io>, connection: Arc<Connection>, shared: Arc<Shared>) -> Self {
        let (incoming, outgoing) = (BytesMut::new(), BytesMut::new());
        Self {
            io,
            connection,
            shared,
            incoming,
            left: Left::Unknown,
            outgoing,
            stalled: None,
            frames: None,
            head_deadline: None,
            is_over: false,
            linger: None,
        }
    }

    /// For HTTP/2: frames are looked at in both directions.
    pub(super) fn in_frames(mut self) -> Self {
        self.frames = Some(Box::new(Frames::new()));
        self
    }

    /// Reads and checks one request head; what it read is given to pingora later. `patience` ends when no request is
    /// expected any more; `deadline` is how long the whole head may take from its first byte.
    pub(super) async fn next_head(
        &mut self,
        limits: HeadLimits,
        deadline: Duration,
        patience: impl Future<Output = ()>,
    ) -> Arrival {
        if self.incoming.is_empty() {
            // A connection at rest holds no buffers.
            (self.incoming, self.outgoing) = (BytesMut::new(), BytesMut::new());
            let read = tokio::select! {
                biased;
                read = self.fill() => read,
                () = patience => return Arrival::Ended,
            };
            if !matches!(read, Ok(bytes) if bytes > 0) {
                return Arrival::Closed;
            }
        }
        // Most heads come whole; only of the others is it known how long they take.
        let mut began = None;
        let mut scanner = Scanner::default();
        loop {
            match scanner.advance(&self.incoming, limits) {
                Err(refusal) => return Arrival::Refused(refusal),
                Ok(Some(end)) => {
                    let body = match head::check(self.incoming.get(..end).unwrap_or_default(), limits) {
                        Ok(body) => body,
                        Err(refusal) => return Arrival::Refused(refusal),
                    };
                    let took = began.map_or(Duration::ZERO, |began: Instant| began.elapsed());
                    self.connection.head_came(took);
                    self.left = match body {
                        Some(body) => Left::Bytes(body.saturating_add(size(end))),
                        None => Left::Chunks(size(end), Chunks::new()),
                    };
                    return Arrival::Head;
                }
                Ok(None) => {}
            }
            let began = *began.get_or_insert_with(Instant::now);
            let end = began.checked_add(deadline).unwrap_or(began);
            match timeout_at(end, self.fill()).await {
                Ok(Ok(bytes)) if bytes > 0 => {}
                Ok(_) => return Arrival::Closed,
                Err(_) => return Arrival::Refused(LATE_HEAD),
            }
        }
    }

    /// Closes our end of a connection at rest with `close_notify` (RFC 8446 §6.1), as far as the client takes it at once: the
    /// client knows then that nothing was cut off.
    pub(super) async fn say_goodbye(&mut self) {
        poll_fn(|cx| {
            let _ = Pin::new(&mut self.io).poll_shutdown(cx);
            Poll::Ready(())
        })
        .await;
    }

    async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Reads by way of the stack: whoever waits for bytes holds no room for them.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut scratch = [MaybeUninit::uninit(); READ];
        let mut fresh = ReadBuf::uninit(&mut scratch);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut fresh))?;
        self.incoming.extend_from_slice(fresh.filled());
        Poll::Ready(Ok(fresh.filled().len()))
    }

    /// Answers with a page of ours and closes.
    pub(super) async fn finish_with(&mut self, page: &Page) {
        self.outgoing.extend_from_slice(&page.to_http1());
        ShutdownStream::shutdown(self).await;
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let written = match Pin::new(&mut self.io).poll_write(cx, &self.outgoing) {
                Poll::Ready(result) => result?,
                Poll::Pending => return self.poll_stall(cx),
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.advance(written);
            self.stalled = None;
        }
        Poll::Ready(Ok(()))
    }

    /// Pending until the client has taken nothing for [`STALL`]; then an error.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.places.stalls(true);
        let stalled = self.stalled.get_or_insert_with(|| {
            let end = Instant::now().checked_add(STALL).unwrap_or_else(Instant::now);
            Box::pin(sleep_until(end))
        });
        stalled
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Pingora answers some requests by itself, without our headers, log and metrics. Those bytes go nowhere; the
    /// first of them brings our own page instead.
    fn intercept(&mut self) {
        if !self.connection.intercepted.swap(true, Ordering::Relaxed) {
            let refusal = Refusal::malformed("FR-4", "the request cannot be read");
            let refusal = charged(&self.shared, &self.connection, refusal);
            let page = Page::new(&self.shared, &self.connection, refusal);
            self.outgoing.extend_from_slice(&page.to_http1());
            page.record(&self.connection);
        }
    }
}

impl EdgeStream {
    /// Pingora has the whole request and listens whether the client goes away. What else comes is the next request.
    fn poll_departure(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.incoming.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.poll_fill(cx))? {
            0 => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(linger) = &mut self.linger else {
            return Poll::Ready(());
        };
        while linger.until.as_mut().poll(cx).is_pending() {
            let mut scratch = [MaybeUninit::uninit(); READ];
            let mut late = ReadBuf::uninit(&mut scratch);
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut late));
            let count = late.filled().len();
            if read.is_err() || count == 0 || count > linger.bytes_left {
                break;
            }
            linger.bytes_left = linger.bytes_left.saturating_sub(count);
        }
        Poll::Ready(())
    }

    /// Chunks are looked at before pingora gets them.
    fn poll_chunks(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.incoming.is_empty() {
            let mut scratch = [0; READ];
            let mut fresh = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut fresh))?;
            self.incoming.extend_from_slice(fresh.filled());
        }
        let Left::Chunks(head, chunks) = &mut self.left else {
            return Poll::Ready(Ok(()));
        };
        let count = self.incoming.len().min(buf.remaining());
        let count = if *head > 0 {
            let in_head = usize::try_from(*head).unwrap_or(usize::MAX).min(count);
            *head = head.saturating_sub(size(in_head));
            in_head
        } else {
            let Ok(in_body) = chunks.advance(self.incoming.get(..count).unwrap_or_default()) else {
                self.connection.broken_body.store(true, Ordering::Relaxed);
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            };
            if chunks.is_done() {
                self.left = Left::Bytes(0);
            }
            in_body
        };
        buf.put_slice(&self.incoming.split_to(count));
        Poll::Ready(Ok(()))
    }

    /// Whether the list of fields at hand takes longer than a head may; all of HTTP/2 waits for its end.
    fn is_head_late(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.frames.as_ref().is_some_and(|frames| frames.is_in_head()) {
            self.head_deadline = None;
            return false;
        }
        let shared = &self.shared;
        let deadline = self.head_deadline.get_or_insert_with(|| {
            let limit = shared.policies.current().plan.floor().head_timeout;
            Box::pin(sleep_until(
                Instant::now().checked_add(limit).unwrap_or_else(Instant::now),
            ))
        });
        deadline.as_mut().poll(cx).is_ready()
    }

    /// The frames of the client end the connection (RFC 9113 §5.4.1).
    fn begin_end(&mut self, code: Code, refusal: Refusal) {
        if let Some(frames) = &self.frames {
            frames.goaway(code, &mut self.outgoing);
        }
        Page::new(&self.shared, &self.connection, refusal).record_reset(&self.connection, code.as_str());
        self.is_over = true;
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whether the client still takes the last frame does not matter.
        let _ = ready!(Pin::new(&mut *self).poll_shutdown(cx));
        Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
    }

    /// What the library writes; what it says by itself gets our headers, a log line and a count.
    fn gather_frames(&mut self, bytes: &[u8]) {
        let Some(frames) = &mut self.frames else { return };
        let (shared, connection) = (&self.shared, &self.connection);
        frames.send(bytes, &mut self.outgoing, |said| match said {
            Said::Answer { is_too_large } => {
                let refusal = if is_too_large {
                    head::TOO_LARGE
                } else {
                    Refusal::malformed("FR-11", "the request cannot be read")
                };
                // The status is the library's; that it counts is ours.
                charged(shared, connection, refusal);
                let page = Page::new(shared, connection, refusal);
                page.record(connection);
                page.to_fields()
            }
            Said::Error(code) => {
                let refusal = BROKEN_FRAMES;
                charged(shared, connection, refusal);
                Page::new(shared, connection, refusal).record_reset(connection, code);
                Vec::new()
            }
        });
    }

    fn poll_bytes(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        left: usize,
    ) -> Poll<io::Result<()>> {
        if !self.incoming.is_empty() {
            let count = self.incoming.len().min(left).min(buf.remaining());
            buf.put_slice(self.incoming.get(..count).unwrap_or_default());
            self.incoming.advance(count);
        } else if left >= buf.remaining() {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        } else {
            let mut scratch = [MaybeUninit::uninit(); READ];
            let mut part = ReadBuf::uninit(scratch.get_mut(..left.min(READ)).unwrap_or_default());
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut part))?;
            buf.put_slice(part.filled());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for EdgeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = match self.left {
            Left::Bytes(0) if self.connection.is_upgraded() => {
                self.left = Left::Unknown;
                usize::MAX
            }
            Left::Bytes(0) => return self.poll_departure(cx),
            Left::Chunks(..) => return self.poll_chunks(cx, buf),
            Left::Bytes(left) => usize::try_from(left).unwrap_or(usize::MAX),
            Left::Unknown => usize::MAX,
        };
        if self.is_over {
            return self.poll_end(cx);
        }
        if self.is_head_late(cx) {
            self.begin_end(Code::EnhanceYourCalm, LATE_HEAD);
            return self.poll_end(cx);
        }
        let before = buf.filled().len();
        ready!(self.poll_bytes(cx, buf, left))?;
        if let Some(frames) = &mut self.frames
            && let Err(code) = frames.receive(buf.filled().get(before..).unwrap_or_default())
        {
            buf.set_filled(before);
            self.begin_end(code, BROKEN_FRAMES);
            return self.poll_end(cx);
        }
        if let Left::Bytes(left) = &mut self.left {
            *left = left.saturating_sub(size(buf.filled().len().saturating_sub(before)));
        }
        Poll::Ready(Ok(()))
    }
}

fn size(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

impl AsyncWrite for EdgeStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !self.connection.is_admitted() {
            self.intercept();
            return Poll::Ready(Ok(buf.len()));
        }
        if self.frames.is_some() {
            if self.outgoing.len() >= GATHER {
                ready!(self.poll_drain(cx))?;
            }
            let part = buf.get(..GATHER).unwrap_or(buf);
            self.gather_frames(part);
            return Poll::Ready(Ok(part.len()));
        }
        if self.outgoing.len().saturating_add(buf.len()) > GATHER {
            ready!(self.poll_drain(cx))?;
            if buf.len() >= GATHER {
                return match Pin::new(&mut self.io).poll_write(cx, buf) {
                    Poll::Ready(result) => {
                        self.stalled = None;
                        Poll::Ready(result)
                    }
                    Poll::Pending => self.poll_stall(cx).map(|stalled| stalled.map(|()| 0)),
                };
            }
        }
        self.outgoing.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Ready(result) => {
                self.stalled = None;
                self.connection.places.stalls(false);
                Poll::Ready(result)
            }
            Poll::Pending => self.poll_stall(cx),
        }
    }

    /// Closes our end, then lingers until the client has closed its own. Pingora ends connections through here.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(self.as_mut().poll_flush(cx))?;
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.linger = Some(Linger::new());
        }
        self.poll_linger(cx).map(Ok)
    }
}

#[async_trait]
impl ShutdownStream for EdgeStream {
    async fn shutdown(&mut self) {
        if let Err(error) = AsyncWriteExt::shutdown(self).await {
            tracing::debug!(%error, "the client was gone before the connection closed");
        }
    }
}

// What pingora keeps of a connection beside its bytes, and nobody here asks it for.

impl UniqueID for EdgeStream {
    fn id(&self) -> UniqueIDType {
        0
    }
}

impl Ssl for EdgeStream {}

impl GetTimingDigest for EdgeStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for EdgeStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for EdgeStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for EdgeStream {}

impl fmt::Debug for EdgeStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeStream")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}
