//! The two ends of a gateway: stopped with all it has, or drained behind a process that has taken its sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use service_runtime::shutdown::Shutdown;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::hand_over::Sockets;

/// What ends first: accepting connections. Connections at hand end by themselves, each after its request at hand.
#[derive(Debug)]
pub(crate) struct Drain {
    begun: CancellationToken,
    /// Nobody can connect any more. Connections are told to end only then: their clients come back, and would find a
    /// socket that is about to close.
    closed: CancellationToken,
    handed_over: AtomicBool,
    sockets: Sockets,
    /// Who accepts connections.
    doors: TaskTracker,
    /// Connections, and who accepts them.
    serving: TaskTracker,
    shutdown: Shutdown,
}

impl Drain {
    /// Stopping begins with draining; draining may begin alone.
    pub(crate) fn new(shutdown: &Shutdown) -> Arc<Self> {
        Arc::new(Self {
            begun: shutdown.child(),
            closed: CancellationToken::new(),
            handed_over: AtomicBool::new(false),
            sockets: Sockets::default(),
            doors: TaskTracker::new(),
            serving: TaskTracker::new(),
            shutdown: shutdown.clone(),
        })
    }

    /// Another process serves: this one accepts nothing more.
    pub(crate) fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Release);
        self.begun.cancel();
    }

    /// Whether another process serves in the place of this one.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    /// Whether no further connection is wanted.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Completes when no further connection is wanted.
    pub(crate) async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Whether connections are to end after the request at hand.
    pub(crate) fn has_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Completes when connections are to end after the request at hand.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Waits until draining has begun and every socket is closed, and tells the connections.
    pub(super) async fn close(&self) {
        self.begun.cancelled().await;
        self.doors.close();
        self.doors.wait().await;
        self.closed.cancel();
    }

    /// The same as a token, for those who keep it.
    pub(super) fn token(&self) -> CancellationToken {
        self.begun.clone()
    }

    /// What the next process would be handed.
    pub(crate) const fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// Starts a task that serves clients; the process lives until it has ended, or the grace is over.
    pub(crate) fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.shutdown.spawn(self.serving.track_future(task));
    }

    /// Starts a task that accepts connections.
    pub(super) fn spawn_door<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn(self.doors.track_future(task));
    }

    /// Completes when draining has begun and no client is served any more.
    pub(super) async fn done(&self) {
        self.begun.cancelled().await;
        self.serving.close();
        self.serving.wait().await;
    }
}
