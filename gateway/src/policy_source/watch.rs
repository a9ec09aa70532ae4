//! Noticing that the policy directory changed: file events, and a look every few seconds in case one is lost.

use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, new_debouncer};
use policy::SourceFile;
use service_runtime::shutdown::Shutdown;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use super::{PolicySource, Reload, bundle};

/// Events that follow each other within this time are one change.
const QUIET: Duration = Duration::from_millis(50);
/// A file that is being written may be valid YAML when half of it is there: only what reads the same twice counts.
const SETTLED: Duration = Duration::from_millis(40);
/// Reads before a directory that never rests is taken as it is; the poll looks again.
const READS: usize = 25;

/// Follows the directory until shutdown. `changed` runs after every look, with what came of it.
pub(crate) async fn watch(
    source: Arc<PolicySource>,
    poll: Duration,
    shutdown: Shutdown,
    changed: impl Fn(Reload) + Send + 'static,
) {
    let event = Arc::new(Notify::new());
    let waker = event.clone();
    let handler = move |result: DebounceEventResult| {
        // Reading the directory is an event too, and must not be the reason to read it again.
        if result.map_or(true, |events| events.iter().any(|event| is_change(event.kind))) {
            waker.notify_one();
        }
    };
    let debouncer = new_debouncer(QUIET, None, handler).and_then(|mut debouncer| {
        debouncer.watch(&source.directory, RecursiveMode::Recursive)?;
        Ok(debouncer)
    });
    if let Err(error) = &debouncer {
        tracing::warn!(%error, poll_ms = poll.as_millis(), "no file events here: the policy directory is polled");
    }
    let mut ticks = interval(poll);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = event.notified() => {}
            _ = ticks.tick() => {}
        }
        let read = read_settled(&source).await;
        changed(source.reload(read));
    }
}

const fn is_change(kind: EventKind) -> bool {
    !matches!(
        kind,
        EventKind::Access(AccessKind::Open(_) | AccessKind::Read | AccessKind::Close(AccessMode::Read))
    )
}

async fn read_settled(source: &PolicySource) -> anyhow::Result<Vec<SourceFile>> {
    let mut pauses = interval(SETTLED);
    pauses.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pauses.tick().await;
    let mut last = source.read();
    for _ in 0..READS {
        pauses.tick().await;
        let next = source.read();
        let same = match (&last, &next) {
            (Ok(a), Ok(b)) => bundle::fingerprint(a) == bundle::fingerprint(b),
            (Err(a), Err(b)) => a.to_string() == b.to_string(),
            _ => false,
        };
        if same {
            return next;
        }
        last = next;
    }
    last
}
