//! The streams of one HTTP/2 connection (RFC 9113).

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use pingora::apps::HttpServerApp as _;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Accept, H2Options, HttpSession, default_h2_options, handshake};
use pingora::protocols::{Digest, Stream};
use policy::framing::check_method;
use tokio::time::{Instant, sleep_until, timeout};

use super::framing::Refusal;
use super::places::Place;
use super::refusal::{Page, charged};
use super::stream::{EdgeStream, Io};
use super::{CONNECTION, Connection};
use crate::fleet::Traffic;
use crate::server::Worker;

/// Requests that break HTTP/2 itself, before the connection is closed.
const MAX_MALFORMED: u32 = 32;
/// How long a client that was told to go away may begin requests: those that it sent before it heard of that. Its library
/// says that it has heard; one that never does is not believed for longer.
const GOODBYE: Duration = Duration::from_secs(5);
/// REFUSED_STREAM (RFC 9113 §7): nothing was done, and the request may be sent again elsewhere.
const REFUSED_STREAM: u32 = 7;

/// Bytes of a stream's answer that wait here for a client that reads slowly, as many as are written at a time. The library
/// keeps 400 KiB, which a hundred streams of one connection make 40 MiB of.
const SEND_BUFFER: usize = 16 * 1024;

fn options() -> H2Options {
    let mut options = default_h2_options();
    options.max_send_buffer_size(SEND_BUFFER);
    options
}

/// Serves streams until the connection closes.
pub(super) async fn serve(worker: &Arc<Worker>, connection: Arc<Connection>, stream: Box<dyn Io>) {
    let digest = Arc::new(Digest::default());
    // What h2 says by itself is looked at frame by frame: nothing to intercept as a whole.
    connection.admit();
    let bounds = worker.shared.connections;
    let stream: Stream =
        Box::new(EdgeStream::new(stream, connection.clone(), worker.shared.clone()).in_frames());
    let Ok(Ok(mut h2)) = timeout(bounds.handshake_timeout(), handshake(stream, Some(options()))).await else {
        let refusal = Refusal::malformed("h2-preface", "the connection does not begin as HTTP/2 does");
        Page::new(&worker.shared, &connection, refusal).record_reset(&connection, "PROTOCOL_ERROR");
        return;
    };

    let streams = Arc::new(AtomicU32::new(0));
    let is_at_rest = || streams.load(Ordering::Relaxed) == 0;
    let (mut served, mut malformed) = (0_u32, 0_u32);
    let mut goodbye = Goodbye::default();
    while malformed < MAX_MALFORMED {
        if goodbye.is_to_be_said() {
            h2.graceful_shutdown();
        }
        let accepted = tokio::select! {
            biased;
            () = worker.shared.drain.closed(), if !goodbye.is_begun() => {
                goodbye.begin(is_at_rest());
                continue;
            }
            () = sleep_until(goodbye.look_at.unwrap_or_else(|| after(bounds.idle_timeout()))) => {
                if goodbye.has_left(is_at_rest()) {
                    return;
                }
                continue;
            }
            accepted = noting(&connection, HttpSession::from_h2_conn(&mut h2, digest.clone())) => accepted,
        };
        match accepted {
            Ok(Some(H2Accept::Session(mut session))) if goodbye.is_over => {
                session.shutdown_with_reason(REFUSED_STREAM.into());
                malformed = malformed.saturating_add(1);
            }
            Ok(Some(H2Accept::Session(session))) => {
                served = served.saturating_add(1);
                goodbye.was_at_rest = false;
                if served >= bounds.max_requests {
                    goodbye.begin(false);
                }
                match begin(&connection, &session) {
                    Ok(place) => {
                        let guard = StreamGuard::new(&streams, worker, place);
                        let serving = serve_stream(worker.clone(), connection.clone(), session, guard);
                        worker.shared.drain.spawn(serving);
                    }
                    Err(refusal) => refuse(worker, &connection, session, refusal),
                }
            }
            // `EdgeStream` has seen the answer.
            Ok(Some(H2Accept::Rejected)) => malformed = malformed.saturating_add(1),
            Ok(None) | Err(_) => return,
        }
    }
}

/// How a client is told to go away, and how long that takes at most.
#[derive(Default)]
struct Goodbye {
    /// When it is seen how far it has come; `None` before it is begun.
    look_at: Option<Instant>,
    is_said: bool,
    /// Whether no stream is begun any more.
    is_over: bool,
    was_at_rest: bool,
}

impl Goodbye {
    const fn is_begun(&self) -> bool {
        self.look_at.is_some()
    }

    fn begin(&mut self, is_at_rest: bool) {
        if self.look_at.is_none() {
            (self.look_at, self.was_at_rest) = (Some(after(GOODBYE)), is_at_rest);
        }
    }

    /// Once.
    const fn is_to_be_said(&mut self) -> bool {
        self.is_begun() && !std::mem::replace(&mut self.is_said, true)
    }

    /// Whether everything has been answered, and what was written last had the time to leave. Begins it for whom it has not
    /// begun, and who has rested too long.
    fn has_left(&mut self, is_at_rest: bool) -> bool {
        if !self.is_begun() {
            if is_at_rest {
                self.begin(true);
            }
            return false;
        }
        let has_left = is_at_rest && self.was_at_rest;
        (self.is_over, self.was_at_rest) = (true, is_at_rest);
        self.look_at = Some(after(GOODBYE));
        has_left
    }
}

fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

/// Polls the library, which writes what it can each time, and sees to it that what has left holds no place.
async fn noting<F: Future>(connection: &Connection, accepting: F) -> F::Output {
    let mut accepting = pin!(accepting);
    poll_fn(|cx| {
        let accepted = accepting.as_mut().poll(cx);
        connection.places.written(cx.waker());
        accepted
    })
    .await
}

/// Whether a stream is served.
///
/// # Errors
/// When its client has too many requests under way, and for CONNECT, which pingora would answer by itself.
fn begin(connection: &Connection, session: &HttpSession) -> Result<Place, Refusal> {
    check_method(session.req_header().method.as_str().as_bytes())?;
    connection.places.of_stream()
}

/// Answers without waiting for anything, so that what is refused holds nothing: a client that leaves no room for the
/// whole answer gets its head.
fn refuse(worker: &Worker, connection: &Connection, session: HttpSession, refusal: Refusal) {
    let refusal = charged(&worker.shared, connection, refusal);
    let page = Page::new(&worker.shared, connection, refusal);
    page.record(connection);
    // What has left of it is in the log already.
    let _ = page
        .write_to(&mut ServerSession::new_http2(session))
        .now_or_never();
}

async fn serve_stream(
    worker: Arc<Worker>,
    connection: Arc<Connection>,
    session: HttpSession,
    guard: StreamGuard,
) {
    let session = ServerSession::new_http2(session);
    let exchange = worker.proxy.process_new_http(session, &worker.stopping);
    CONNECTION.scope(connection, exchange).await;
    drop(guard);
}

/// Counts a stream for as long as it is served.
struct StreamGuard {
    streams: Arc<AtomicU32>,
    traffic: Arc<Traffic>,
    _place: Place,
}

impl StreamGuard {
    fn new(streams: &Arc<AtomicU32>, worker: &Worker, place: Place) -> Self {
        streams.fetch_add(1, Ordering::Relaxed);
        Self {
            streams: streams.clone(),
            traffic: worker.shared.traffic.clone(),
            _place: place,
        }
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
        if std::thread::panicking() {
            self.traffic.panicked();
        }
    }
}
