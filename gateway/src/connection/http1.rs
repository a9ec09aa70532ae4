//! The requests of one HTTP/1 connection, one after the other.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use pingora::apps::HttpServerApp as _;
use pingora::protocols::http::ServerSession;
use tokio::time::{Instant, sleep_until};

use super::head::HeadLimits;
use super::refusal::{Page, charged};
use super::stream::{Arrival, EdgeStream, Io};
use super::{CONNECTION, Connection};
use crate::server::Worker;

/// After SIGTERM a connection at rest stays open for this long: a request that the client has already sent is answered,
/// with `Connection: close`, instead of being cut.
const FAREWELL: Duration = Duration::from_millis(500);

/// Serves requests until the connection closes.
pub(super) async fn serve(worker: &Worker, connection: Arc<Connection>, stream: Box<dyn Io>) {
    let mut stream = Box::new(EdgeStream::new(stream, connection.clone(), worker.shared.clone()));
    // Both live as long as the connection: a timer that only moves on costs a request next to nothing.
    let mut idle = pin!(sleep_until(Instant::now()));
    let mut farewell = pin!(farewell(worker));
    for left in (0..worker.shared.connections.max_requests).rev() {
        connection.expect_request(left == 0);
        let (limits, deadline) = {
            let snapshot = worker.shared.policies.current();
            let floor = snapshot.plan.floor();
            (HeadLimits::from(&floor.limits), floor.head_timeout)
        };
        idle.as_mut()
            .reset(from_now(worker.shared.connections.idle_timeout()));
        let patience = poll_fn(|cx| match idle.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => farewell.as_mut().poll(cx),
        });
        let place = match stream.next_head(limits, deadline, patience).await {
            Arrival::Closed => return,
            Arrival::Ended => return stream.say_goodbye().await,
            Arrival::Refused(refusal) => Err(refusal),
            Arrival::Head => connection.places.of_connection(),
        };
        let place = match place {
            Ok(place) => place,
            Err(refusal) => {
                let refusal = charged(&worker.shared, &connection, refusal);
                let page = Page::new(&worker.shared, &connection, refusal);
                page.record(&connection);
                connection.admit();
                stream.finish_with(&page).await;
                return;
            }
        };
        let mut session = ServerSession::new_http1(stream);
        // The head is there already; for the body there is another one.
        session.set_read_timeout(None);
        let exchange = worker.proxy.process_new_http(session, &worker.stopping);
        let Some(reusable) = CONNECTION.scope(connection.clone(), exchange).await else {
            return;
        };
        drop(place);
        if connection.intercepted.load(Ordering::Relaxed) || connection.has_broken_body() {
            return;
        }
        let (reusable, _) = reusable.consume();
        match reusable.into_any().downcast::<EdgeStream>() {
            Ok(same) => stream = same,
            Err(_) => return,
        }
    }
}

/// Ends when a connection at rest is closed because the process stops.
async fn farewell(worker: &Worker) {
    worker.shutdown.cancelled().await;
    sleep_until(from_now(FAREWELL)).await;
}

fn from_now(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

impl From<&policy::Limits> for HeadLimits {
    fn from(limits: &policy::Limits) -> Self {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            bytes: size(limits.head),
            fields: size(limits.headers),
            target: size(limits.target),
        }
    }
}
