//! The fleet of a data directory: its one gateway, and the development root, which signs on its own which keys may sign for
//! it.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use http::Method;
use service_runtime::clock::Clock;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::certificates::Leaf;
use crate::control_plane::ControlPlane;
use crate::trust::{RootFile, needs_another, next, sign};

/// The fleet of a data directory.
pub(super) const NAME: &str = "portico";
/// Its gateway.
pub(super) const NODE: &str = "gateway";
/// The files of the control plane's certificate.
pub(super) const CONTROL_PLANE: &str = "control-plane";
/// For how long the keys may sign, days.
const DAYS: u16 = 90;
/// How often it is looked whether the bundle ring has another key.
const LOOK: Duration = Duration::from_secs(30);

/// Who needs a certificate.
pub(super) fn members() -> [Leaf; 2] {
    [
        Leaf::Server(CONTROL_PLANE.to_owned()),
        Leaf::Gateway(NODE.to_owned()),
    ]
}

/// The root key of this data directory, made once.
pub(super) fn root(file: &Path) -> anyhow::Result<RootFile> {
    if file.exists() {
        RootFile::open(file)
    } else {
        RootFile::make(file)
    }
}

/// Signs a trust document and hands it over, if the one in force does not name every key of the bundle ring for a while, or one
/// for too long.
pub(super) async fn hand_over(control_plane: &ControlPlane, root: &RootFile) -> anyhow::Result<()> {
    let standing = control_plane.send(Method::GET, "/internal/trust", None).await??;
    if !needs_another(&standing) {
        return Ok(());
    }
    let document = sign(&next(&standing, Clock::system().now(), DAYS)?, root)?;
    let accepted = control_plane.send(Method::POST, "/internal/trust", Some(document.to_bytes()));
    accepted
        .await?
        .context("the control plane refuses the trust document")
        .map(drop)
}

/// Does so until `stop`, whenever the ring has turned.
pub(super) async fn keep(control_plane: ControlPlane, root: RootFile, stop: CancellationToken) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // A control plane that is away now is there at another look.
        drop(hand_over(&control_plane, &root).await);
    }
}
