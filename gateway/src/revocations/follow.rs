//! Following the list of the control plane: short polls over its unix socket, for ever, so that silence is noticed soon.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use keyring::RevocationList;
use service_runtime::shutdown::Shutdown;

use super::{MAX_BYTES, Revocations};
use crate::control_plane;

/// How long the control plane may hold a poll open: what routes may ask for is measured in seconds.
const WAIT: Duration = Duration::from_secs(2);
/// First and longest wait after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Keeps the list up to date until shutdown.
pub(crate) async fn follow(revocations: Arc<Revocations>, socket: PathBuf, shutdown: Shutdown) {
    let mut backoff = BACKOFF.0;
    let mut failing = false;
    loop {
        let result = tokio::select! {
            () = shutdown.cancelled() => return,
            result = poll(&revocations, &socket) => result,
        };
        match result {
            Ok(()) => {
                revocations.heard();
                if std::mem::take(&mut failing) {
                    tracing::info!("the control plane says again what is revoked");
                }
                backoff = BACKOFF.0;
                continue;
            }
            Err(error) if !failing => {
                failing = true;
                let error = format!("{error:#}");
                tracing::warn!(error, "nobody says what is revoked: the last list stays in force");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = control_plane::pause(backoff) => {}
        }
        backoff = backoff.saturating_mul(2).min(BACKOFF.1);
    }
}

/// One poll: takes over the list that comes, if one comes.
async fn poll(revocations: &Revocations, socket: &Path) -> anyhow::Result<()> {
    let target = format!(
        "/internal/revocations?after={}&wait_s={}",
        revocations.seq(),
        WAIT.as_secs()
    );
    let Some(body) = control_plane::get(socket, &target, WAIT, MAX_BYTES).await? else {
        return Ok(());
    };
    let list: RevocationList = serde_json::from_slice(&body).context("the list cannot be parsed")?;
    let offered = list.seq;
    if revocations.adopt(list).context("the list is not valid")? {
        return Ok(());
    }
    // Asking again at once would bring the same.
    anyhow::bail!("the control plane offers list {offered}, which is not newer than ours")
}
