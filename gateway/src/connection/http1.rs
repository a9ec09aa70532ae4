//! The requests of one HTTP/1 connection, one after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pingora::apps::HttpServerApp as _;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use tokio::time::sleep_until;

use super::head::HeadLimits;
use super::refusal::{Page, charged};
use super::stream::{Arrival, EdgeStream};
use super::{CONNECTION, Connection};
use crate::server::Worker;

/// After SIGTERM a connection at rest stays open for this long: a request that the client has already sent is answered,
/// with `Connection: close`, instead of being cut.
const FAREWELL: Duration = Duration::from_millis(500);

/// Serves requests until the connection closes.
pub(super) async fn serve(worker: &Worker, connection: Arc<Connection>, stream: Stream) {
    let mut stream = Box::new(EdgeStream::new(stream, connection.clone(), worker.shared.clone()));
    for left in (0..worker.shared.connections.max_requests).rev() {
        connection.expect_request(left == 0);
        let (limits, deadline) = {
            let snapshot = worker.shared.policies.current();
            let floor = snapshot.plan.floor();
            (HeadLimits::from(&floor.limits), floor.head_timeout)
        };
        match stream.next_head(limits, deadline, patience(worker)).await {
            Arrival::Closed => return,
            Arrival::Refused(refusal) => {
                let refusal = charged(&worker.shared, connection.client, refusal);
                let page = Page::new(&worker.shared, &connection, refusal);
                page.record(&connection);
                connection.admit();
                stream.finish_with(&page).await;
                return;
            }
            Arrival::Head => {}
        }
        let session = ServerSession::new_http1(stream);
        let exchange = worker.proxy.process_new_http(session, &worker.stopping);
        let Some(reusable) = CONNECTION.scope(connection.clone(), exchange).await else {
            return;
        };
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

/// Ends when no further request is waited for.
async fn patience(worker: &Worker) {
    let wait = |time: Duration| {
        let now = tokio::time::Instant::now();
        sleep_until(now.checked_add(time).unwrap_or(now))
    };
    tokio::select! {
        () = wait(worker.shared.connections.idle_timeout()) => {}
        () = async {
            worker.shutdown.cancelled().await;
            wait(FAREWELL).await;
        } => {}
    }
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
