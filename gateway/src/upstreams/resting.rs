//! Connections to upstreams, which rest on their thread between two requests.
//!
//! Pingora's own pool has a task that watches each connection at rest, and a timer for it: for every request both are
//! made anew, and the kernel is asked who the peer is. Here a connection at rest is an entry in a list, which is looked
//! at when a request wants one, and every few seconds.
//!
//! **Invariant:** a connection rests only after an exchange without an error, at whose end pingora would have kept it. Over
//! TLS it is used for no other identity than the one that it was made with.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::{Error, ErrorType, OrErr as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Endpoint;
use super::answer_head::AnswerHead;
use super::socket::Socket;
use crate::tls::UpstreamIdentity;

/// A connection is closed after this long without a request, before the upstream would.
pub(super) const IDLE: Duration = Duration::from_secs(30);
/// How many of one thread rest at most.
const MOST: usize = 128;
/// How often those are closed whose time is over, or that the upstream has closed.
const LOOK: Duration = Duration::from_secs(5);

thread_local! {
    /// In the order in which they came to rest. A socket belongs to the runtime of its thread.
    static AT_REST: RefCell<VecDeque<Resting>> = const { RefCell::new(VecDeque::new()) };
}

struct Resting {
    socket: Socket,
    owner: Owner,
    since: Instant,
}

/// Whose connection it is: the address, and the number of the identity, where there is one.
type Owner = (u64, Option<u64>);

impl Resting {
    fn is_good(&self) -> bool {
        self.since.elapsed() < IDLE && self.socket.is_silent()
    }
}

/// Closes what should rest no longer on this thread; it never ends.
pub(crate) async fn look_after() {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        AT_REST.with_borrow_mut(|resting| resting.retain(Resting::is_good));
    }
}

/// The one that came to rest last, if it is still good.
fn take(owner: Owner) -> Option<Socket> {
    AT_REST.with_borrow_mut(|resting| {
        while let Some(index) = resting.iter().rposition(|resting| resting.owner == owner) {
            let last = resting.remove(index)?;
            if last.is_good() {
                return Some(last.socket);
            }
        }
        None
    })
}

fn put(socket: Socket, owner: Owner, since: Instant) {
    AT_REST.with_borrow_mut(|resting| {
        if resting.len() >= MOST {
            resting.pop_front();
        }
        resting.push_back(Resting { socket, owner, since });
    });
}

/// The way of one attempt to its address: a connection that rested, or a new one.
#[derive(Debug)]
pub(crate) struct Way {
    endpoint: Arc<Endpoint>,
    /// Who it must be, and who the gateway is to it, over TLS.
    identity: Option<Arc<UpstreamIdentity>>,
    /// How long connecting may take.
    patience: Duration,
    /// When the answer must be there whole.
    deadline: Option<Instant>,
    has_rested: AtomicBool,
    /// The connection once pingora has let go of it, if it would have kept it.
    left: Mutex<Option<Socket>>,
}

impl Way {
    pub(super) fn to(
        endpoint: &Arc<Endpoint>,
        identity: Option<Arc<UpstreamIdentity>>,
        patience: Duration,
        deadline: Option<Instant>,
    ) -> Arc<Self> {
        Arc::new(Self {
            endpoint: endpoint.clone(),
            identity,
            patience,
            deadline,
            has_rested: AtomicBool::new(false),
            left: Mutex::default(),
        })
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() > deadline)
    }

    fn owner(&self) -> Owner {
        let identity = self.identity.as_ref().map(|identity| identity.number());
        (self.endpoint.id, identity)
    }

    async fn connect(&self) -> pingora::Result<Socket> {
        let what = "connecting to the upstream";
        let connecting = async {
            let socket = Socket::connect(&self.endpoint.location).await;
            let socket = socket.or_err(ErrorType::ConnectError, what)?;
            match &self.identity {
                Some(identity) => {
                    let secured = socket.secure(identity).await;
                    secured.or_err(ErrorType::TLSHandshakeFailure, what)
                }
                None => Ok(socket),
            }
        };
        match timeout(self.patience, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(Error::explain(ErrorType::ConnectTimedout, what)),
        }
    }

    /// Whether the connection had served a request before.
    pub(crate) fn has_rested(&self) -> bool {
        self.has_rested.load(Ordering::Relaxed)
    }

    /// The exchange has ended without an error, just now: the connection rests until the next one.
    pub(crate) fn rest(&self, now: Instant) {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(socket) = left {
            put(socket, self.owner(), now);
        }
    }
}

/// [`Way`], as pingora calls it.
#[derive(Debug)]
pub(super) struct Connect(pub(super) Arc<Way>);

#[async_trait]
impl L4Connect for Connect {
    async fn connect(&self, _address: &SocketAddr) -> pingora::Result<Stream> {
        let rested = take(self.0.owner());
        self.0.has_rested.store(rested.is_some(), Ordering::Relaxed);
        let socket = match rested {
            Some(socket) => socket,
            None => Box::pin(self.0.connect()).await?,
        };
        let lent = Lent {
            socket: Some(socket),
            way: self.0.clone(),
            head: AnswerHead::default(),
            is_left: false,
        };
        Ok(Stream::from(VirtualSocketStream::new(Box::new(lent))))
    }
}

/// A connection in the hands of pingora, for one exchange.
#[derive(Debug)]
struct Lent {
    /// Always there.
    socket: Option<Socket>,
    way: Arc<Way>,
    head: AnswerHead,
    is_left: bool,
}

impl Lent {
    fn socket(&mut self) -> io::Result<Pin<&mut Socket>> {
        self.socket
            .as_mut()
            .map(Pin::new)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.is_left {
            *self.way.left.lock().unwrap_or_else(PoisonError::into_inner) = self.socket.take();
        }
    }
}

/// Pingora reads one byte of a connection when it is about to keep it, and in no other case.
const QUESTION: usize = 1;

impl AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.capacity() == QUESTION {
            // Without a byte it is closed in pingora's eyes, which lets go of it, kept or not. What the kernel has by then is
            // found when the connection is taken.
            self.is_left = self.socket()?.is_read_up();
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(self.socket()?.poll_read(cx, buf))?;
        if self.way.is_late() {
            // An answer that comes byte by byte would never be over: pingora waits anew for each.
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let read = buf.filled().get(before..).unwrap_or_default();
        if self.head.is_framed_twice(read) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "an answer with a length and a transfer coding",
            )));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Lent {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.socket()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket()?.poll_shutdown(cx)
    }
}

impl VirtualSocket for Lent {
    /// Everything was set when it was connected.
    fn set_socket_option(&self, _option: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}
