//! Serving a router on a unix socket that only its owner can open.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use axum::Router;
use rustix::fs::Mode;
use tokio::net::{UnixListener, UnixStream};

use crate::shutdown::Shutdown;

/// Serves until `shutdown`, then finishes the requests under way. The socket has mode 0600; a socket that a dead process
/// left behind is replaced.
///
/// # Errors
/// When another process answers on the socket, or the socket cannot be made.
pub async fn serve_unix(path: &Path, router: Router, shutdown: Shutdown) -> anyhow::Result<()> {
    let listener = bind_private(path).await?;
    tracing::info!(socket = %path.display(), "listening");
    let stop = shutdown.clone();
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
        .with_context(|| format!("serving {}", path.display()))?;
    tracing::info!("every request is answered, the listener is closed");
    Ok(())
}

/// Makes the socket with mode 0600 from its first moment. It is bound under its final name: clients that keep
/// connections compare the name they asked for with the one the kernel tells, and rename does not change that one.
async fn bind_private(path: &Path) -> anyhow::Result<UnixListener> {
    if UnixStream::connect(path).await.is_ok() {
        bail!("socket {}: another process serves it", path.display());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("socket {}", path.display()));
        }
        Ok(()) | Err(_) => {}
    }
    // For this moment, whatever else the process creates is private too: that harms nobody.
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener.with_context(|| format!("socket {}", path.display()))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("service.sock");

        drop(bind_private(&path).await.unwrap());
        assert!(path.exists(), "a dropped listener leaves its socket behind");
        let live = bind_private(&path).await.unwrap();
        let name = live.local_addr().unwrap();
        assert_eq!(
            name.as_pathname(),
            Some(path.as_path()),
            "kept connections are recognised by this name"
        );
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );

        let refused = bind_private(&path).await.unwrap_err().to_string();
        assert!(refused.contains("another process serves it"), "{refused}");
        drop(live);
    }
}
