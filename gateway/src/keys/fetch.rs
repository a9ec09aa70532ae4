//! Following the key set of the control plane: a long poll over its unix socket, for ever.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use keyring::KeySet;
use service_runtime::shutdown::Shutdown;

use super::{Adopted, KeyStore};
use crate::control_plane::{self, pause};
use crate::metrics::METRICS;

/// How long the control plane may hold a poll open.
const WAIT: Duration = Duration::from_secs(20);
/// A key set of 50 keys is far smaller than this (J35).
const MAX_BYTES: usize = 64 * 1024;
/// First and longest wait after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Keeps the store up to date until shutdown.
pub(crate) async fn follow(store: Arc<KeyStore>, socket: PathBuf, shutdown: Shutdown) {
    let mut backoff = BACKOFF.0;
    let mut failing = false;
    if store.current().is_none() {
        tracing::info!("no copy of the key set yet: waiting for the control plane");
    }
    loop {
        let result = tokio::select! {
            () = shutdown.cancelled() => return,
            result = poll(&store, &socket) => result,
        };
        let failed = result.is_err();
        report(&store, result, failing);
        failing = failed;
        if !failed {
            backoff = BACKOFF.0;
            continue;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = store.news_wanted.notified() => {}
            () = pause(backoff) => {}
        }
        backoff = backoff.saturating_mul(2).min(BACKOFF.1);
    }
}

/// Failures are logged when they begin and when they end, not in between.
fn report(store: &KeyStore, result: anyhow::Result<()>, was_failing: bool) {
    METRICS.control_plane_up.set(i64::from(result.is_ok()));
    match result {
        Ok(()) => {
            let was_heard = store.silence().is_some();
            store.heard();
            if was_failing && was_heard {
                tracing::info!("the control plane answers again");
            }
        }
        Err(error) if !was_failing => report_failure(store, &format!("{error:#}")),
        Err(_) => {}
    }
}

fn report_failure(store: &KeyStore, error: &str) {
    // A first start: the control plane makes its first keys in the same seconds, and readiness tells the rest.
    if store.current().is_none() {
        tracing::info!(error, "no key set from the control plane yet");
        return;
    }
    let seq = store.seq();
    tracing::warn!(
        error,
        seq,
        "no key set from the control plane: serving on with what is there"
    );
}

/// One long poll: takes over the key set that comes, if one comes.
async fn poll(store: &KeyStore, socket: &Path) -> anyhow::Result<()> {
    // Without keys the first answer must come at once.
    let wait = if store.current().is_some() {
        WAIT
    } else {
        Duration::ZERO
    };
    let target = format!("/internal/keyset?after={}&wait_s={}", store.seq(), wait.as_secs());
    let Some(body) = control_plane::get(socket, &target, WAIT, MAX_BYTES).await? else {
        if store.current().is_none() {
            bail!("the control plane has no key set yet");
        }
        return Ok(());
    };
    let set: KeySet = serde_json::from_slice(&body).context("the key set cannot be parsed")?;
    match store.adopt(set).context("the key set is not valid")? {
        Adopted::New => Ok(()),
        // Asking again at once would bring the same.
        Adopted::NotNewer => bail!("the control plane offers a key set that is not newer than ours"),
    }
}
