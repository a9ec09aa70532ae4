//! Noticing that the policy directory changed: file events, and a look every few seconds in case one is lost.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use notify::RecursiveMode;
use policy::SourceFile;
use service_runtime::shutdown::Shutdown;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use super::file_events::FileEvents;
use super::{PolicySource, Reload, bundle};
use crate::metrics::METRICS;

/// A file that is being written may be valid YAML when half of it is there: only what reads the same twice counts.
const SETTLED: Duration = Duration::from_millis(40);
/// A directory that takes longer to read than this is reported.
const SLOW: Duration = Duration::from_secs(5);
/// Reads before a directory that never rests is refused; the poll looks again.
const READS: usize = 25;

/// Follows the directory until shutdown. `changed` runs after every look, with what came of it.
pub(crate) async fn watch(
    source: Arc<PolicySource>,
    poll: Duration,
    shutdown: Shutdown,
    mut changed: impl FnMut(Reload) + Send + 'static,
) {
    let event = Arc::new(Notify::new());
    let mut events = None;
    let mut had_fault = false;
    let mut ticks = interval(poll);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = event.notified() => {}
            _ = ticks.tick() => {}
        }
        // Watched anew before each look: what changes from here on is an event, what changed before is seen. The old
        // watch ends after the new one began.
        let looked = async {
            let next = file_events(&source, event.clone()).await;
            (next, read_settled(&source.settings.policies_dir).await)
        };
        let (next, read) = tokio::select! {
            () = shutdown.cancelled() => return,
            looked = looked => looked,
        };
        let fault = match &next {
            Ok(next) => next.fault.as_ref().map(ToString::to_string),
            Err(error) => Some(format!("{error:#}")),
        };
        if let Some(error) = fault.as_ref().filter(|_| !had_fault) {
            tracing::warn!(%error, poll_ms = poll.as_millis(), "some file events are missing here: the policy directory is polled");
        }
        had_fault = fault.is_some();
        events = next.ok().or(events);
        changed(source.reload(read));
    }
}

/// The same for a gateway whose policy comes from signed statements: certificates change, and days end.
pub(crate) async fn watch_stated(
    source: Arc<PolicySource>,
    poll: Duration,
    shutdown: Shutdown,
    mut changed: impl FnMut(Reload) + Send + 'static,
) {
    let event = Arc::new(Notify::new());
    let certificates = source.settings.certificate_dir.clone();
    let mut ticks = interval(poll);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Watched anew before each look, as above; what is missed is polled.
        let folders = [(certificates.as_path(), RecursiveMode::NonRecursive)];
        let _events = FileEvents::of(&folders, event.clone()).ok();
        let reload = tokio::select! {
            () = shutdown.cancelled() => return,
            () = source.stated.notified() => Reload::Loaded,
            () = event.notified() => Reload::Unchanged,
            _ = ticks.tick() => Reload::Unchanged,
        };
        source.report_waivers(false);
        changed(reload);
    }
}

async fn file_events(source: &PolicySource, changed: Arc<Notify>) -> anyhow::Result<FileEvents> {
    let settings = &source.settings;
    let (policies, certificates) = (settings.policies_dir.clone(), settings.certificate_dir.clone());
    on_a_thread(&settings.policies_dir, move || {
        let folders = [
            (policies.as_path(), RecursiveMode::Recursive),
            (certificates.as_path(), RecursiveMode::NonRecursive),
        ];
        Ok(FileEvents::of(&folders, changed)?)
    })
    .await
}

async fn read(directory: &Path) -> anyhow::Result<Vec<SourceFile>> {
    let wanted = directory.to_owned();
    on_a_thread(directory, move || bundle::read_directory(&wanted)).await
}

/// Works on a thread of its own: a file system that hangs must not take keys, metrics and health along.
async fn on_a_thread<T: Send + 'static>(
    directory: &Path,
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let mut working = tokio::task::spawn_blocking(work);
    if let Ok(done) = tokio::time::timeout(SLOW, &mut working).await {
        return done?;
    }
    METRICS.policy_ok.set(0);
    tracing::error!(directory = %directory.display(), "the policy directory does not answer: the policy in force stays");
    working.await?
}

/// Reads the directory until it says the same twice.
///
/// # Errors
/// When it cannot be read, and when it never rests: half of a change is not what anybody meant.
pub(super) async fn read_settled(directory: &Path) -> anyhow::Result<Vec<SourceFile>> {
    let mut pauses = interval(SETTLED);
    pauses.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pauses.tick().await;
    let mut last = read(directory).await;
    for _ in 0..READS {
        pauses.tick().await;
        let next = read(directory).await;
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
    bail!("{}: the policy directory keeps changing", directory.display())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_directory_that_never_rests_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (policies, draft) = (directory.path().join("policies"), directory.path().join("draft"));
        fs::create_dir(&policies).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let writer = std::thread::spawn({
            let (stop, policies) = (stop.clone(), policies.clone());
            move || {
                for version in 0_u64.. {
                    fs::write(&draft, format!("# {version}")).unwrap();
                    fs::rename(&draft, policies.join("a.yaml")).unwrap();
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        });
        let restless = read_settled(&policies).await.unwrap_err().to_string();
        assert!(restless.contains("keeps changing"), "{restless}");

        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        assert_eq!(read_settled(&policies).await.unwrap().len(), 1);
    }
}
