//! Stopping in order: one token that says “stop”, and the tasks that must end before the process does.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;

/// Tells every part of a process to stop; a clone is the same switch.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// A switch that only [`Shutdown::trigger`] turns.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A switch that SIGTERM and SIGINT turn. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the operating system refuses a signal handler.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let switch = shutdown.token.clone();
        shutdown.spawn(async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                () = switch.cancelled() => return,
            };
            tracing::info!(signal = name, "stopping");
            switch.cancel();
        });
        Ok(shutdown)
    }

    /// Tells every part to stop.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Whether stopping has begun.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Completes when stopping begins.
    pub fn cancelled(&self) -> WaitForCancellationFuture<'_> {
        self.token.cancelled()
    }

    /// A token that stopping cancels too.
    #[must_use]
    pub fn child(&self) -> CancellationToken {
        self.token.child_token()
    }

    /// Starts a background task that [`Shutdown::wait_for_tasks`] waits for. The task must watch [`Shutdown::cancelled`].
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Waits until every background task has ended, at most this long. Returns whether all did.
    pub async fn wait_for_tasks(&self, at_most: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(at_most, self.tasks.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn background_tasks_are_waited_for() {
        let shutdown = Shutdown::new();
        let watcher = shutdown.clone();
        let task = shutdown.spawn(async move {
            watcher.cancelled().await;
            "finished"
        });
        shutdown.trigger();
        assert!(shutdown.wait_for_tasks(Duration::from_secs(5)).await);
        assert_eq!(task.await.unwrap(), "finished");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_listen_is_reported() {
        let shutdown = Shutdown::new();
        shutdown.spawn(std::future::pending::<()>());
        shutdown.trigger();
        assert!(!shutdown.wait_for_tasks(Duration::from_secs(5)).await);
    }
}
