//! Following the list of the control plane: short polls over its unix socket, for ever, so that silence is noticed soon.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use keyring::RevocationList;
use service_runtime::shutdown::Shutdown;

use super::{MAX_BYTES, Revocations};
use crate::control_plane::{self, NotOffered};

/// How long the control plane may hold a poll open: what routes may ask for is measured in seconds.
const WAIT: Duration = Duration::from_secs(2);
/// First and longest wait after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How soon a newer control plane is noticed.
const UNTIL_REPLACED: Duration = Duration::from_mins(1);

/// Keeps the list up to date until shutdown.
pub(crate) async fn follow(revocations: Arc<Revocations>, socket: PathBuf, shutdown: Shutdown) {
    let mut backoff = BACKOFF.0;
    let mut failing = false;
    loop {
        let result = tokio::select! {
            () = shutdown.cancelled() => return,
            result = poll(&revocations, &socket) => result,
        };
        let error = match result {
            Ok(()) => {
                revocations.heard();
                if std::mem::take(&mut failing) {
                    tracing::info!("the control plane says again what is revoked");
                }
                backoff = BACKOFF.0;
                continue;
            }
            Err(error) => error,
        };
        if !std::mem::replace(&mut failing, true) {
            let error = format!("{error:#}");
            tracing::warn!(error, "nobody says what is revoked: the last list stays in force");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = control_plane::pause(wait_after(&error, backoff)) => {}
        }
        backoff = backoff.saturating_mul(2).min(BACKOFF.1);
    }
}

/// One that does not know the question is asked seldom: until it is replaced, the answer is the same.
fn wait_after(error: &anyhow::Error, backoff: Duration) -> Duration {
    if error.is::<NotOffered>() {
        UNTIL_REPLACED
    } else {
        backoff
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn j41_a_control_plane_without_a_list_is_asked_seldom_and_one_that_is_away_often() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control-plane.sock");
        let revocations = Revocations::open(folder.path());
        let away = poll(&revocations, &socket).await.unwrap_err();
        assert_eq!(wait_after(&away, BACKOFF.0), BACKOFF.0);

        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let router = axum::Router::new();
        let serving = async { axum::serve(listener, router).await };
        let older = tokio::select! {
            _ = serving => unreachable!("it serves for ever"),
            polled = poll(&revocations, &socket) => polled.unwrap_err(),
        };
        assert_eq!(wait_after(&older, BACKOFF.0), UNTIL_REPLACED);
        assert_eq!(revocations.silence(), None);
    }
}
