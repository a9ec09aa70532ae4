//! Fetching again and again: before keys are old, when one is unknown, and with growing pauses while it fails.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use service_runtime::shutdown::Shutdown;

use super::{KeyUrls, RemoteSet, fetch, state_file};
use crate::keys::seconds;
use crate::metrics::METRICS;
use crate::pause::pause;

/// First and longest wait after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// Keeps the sets of all issuers up to date until shutdown, each by a task of its own.
pub(crate) async fn follow(urls: Arc<KeyUrls>, shutdown: Shutdown) {
    let mut followed: Vec<Arc<RemoteSet>> = Vec::new();
    loop {
        let sets = urls.sets.load_full();
        followed.retain(|set| !set.retired.is_cancelled());
        for set in sets.iter() {
            if !followed.iter().any(|known| Arc::ptr_eq(known, set)) {
                followed.push(set.clone());
                shutdown.spawn(follow_one(urls.clone(), set.clone(), shutdown.clone()));
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = urls.changed.notified() => {}
        }
    }
}

async fn follow_one(urls: Arc<KeyUrls>, set: Arc<RemoteSet>, shutdown: Shutdown) {
    let mut next = Next::first(&set, urls.clock.now().timestamp());
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = set.retired.cancelled() => return,
            () = next.is_due(&urls, &set) => {}
        }
        // First this: between the two, a new key must not be taken for one that was asked for in vain.
        set.is_asking.store(true, Ordering::Release);
        set.attempted_at
            .store(urls.clock.now().timestamp(), Ordering::Relaxed);
        let fetched = tokio::select! {
            () = shutdown.cancelled() => return,
            fetched = fetch::get(&set.url, &urls.trust_file) => fetched,
        };
        let now = urls.clock.now().timestamp();
        next = match fetched.and_then(|document| set.adopt(document, now)) {
            Ok(()) => Next::Refresh(jittered(set.url.refresh)),
            Err(error) => next.after_failure(&set, &error),
        };
        set.is_asking.store(false, Ordering::Release);
    }
}

/// When the issuer is asked again.
#[derive(Clone, Copy)]
enum Next {
    /// After this time, or when an unknown key comes.
    Refresh(Duration),
    /// After this time, whatever comes.
    Retry(Duration),
}

impl Next {
    /// A set from disk is as good as one that was fetched then.
    fn first(set: &RemoteSet, now_unix: i64) -> Self {
        let age = now_unix.saturating_sub(set.fetched_at.load(Ordering::Relaxed));
        let left = seconds(set.url.refresh).saturating_sub(age.max(0)).max(0);
        let is_held = set.held.load().is_some();
        Self::Refresh(if is_held {
            Duration::from_secs(left.unsigned_abs())
        } else {
            Duration::ZERO
        })
    }

    async fn is_due(&self, urls: &KeyUrls, set: &RemoteSet) {
        match self {
            Self::Retry(wait) => pause(*wait).await,
            Self::Refresh(wait) => {
                let wanted = async {
                    loop {
                        set.wanted.notified().await;
                        // A wish may be older than the last attempt.
                        if set.may_ask(urls.clock.now().timestamp()) {
                            return;
                        }
                    }
                };
                tokio::select! {
                    () = wanted => {}
                    () = pause(*wait) => {}
                }
            }
        }
    }

    /// Failures are logged when they begin, not in between.
    fn after_failure(self, set: &RemoteSet, error: &anyhow::Error) -> Self {
        let error = format!("{error:#}");
        METRICS
            .key_url_fetches
            .with_label_values(&[set.label.as_str(), "failed"])
            .inc();
        if !set.is_failing.swap(true, Ordering::Relaxed) {
            tracing::error!(
                url = set.label,
                error,
                "the keys of an issuer cannot be fetched: the old ones stay until they are stale"
            );
        }
        *set.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        set.report();
        let wait = match self {
            Self::Refresh(_) => BACKOFF.0,
            Self::Retry(wait) => wait.saturating_mul(2).min(BACKOFF.1),
        };
        Self::Retry(jittered(wait).max(BACKOFF.0))
    }
}

impl RemoteSet {
    /// Takes over what was fetched, if it is a key set.
    pub(super) fn adopt(&self, document: Vec<u8>, now_unix: i64) -> anyhow::Result<()> {
        self.put(document)?;
        self.fetched_at.store(now_unix, Ordering::Relaxed);
        METRICS
            .key_url_fetches
            .with_label_values(&[self.label.as_str(), "fetched"])
            .inc();
        if self.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!(url = self.label, "the keys of an issuer can be fetched again");
        }
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.report();
        if let Some(held) = self.held.load().as_ref()
            && let Err(error) = state_file::write(&self.file, &self.url, &held.document, now_unix)
        {
            // Serving goes on: only a restart while the issuer is away would miss this copy.
            let error = format!("{error:#}");
            tracing::error!(
                url = self.label,
                error,
                "the keys of an issuer cannot be written to disk"
            );
        }
        Ok(())
    }
}

/// Up to a fifth earlier, so that many gateways do not come at once (J36).
fn jittered(wait: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8);
    let tenths_of_a_percent = u32::try_from(random % 200).unwrap_or(0);
    wait.saturating_sub(wait.saturating_mul(tenths_of_a_percent) / 1_000)
}
