//! Waiting between attempts to reach a process that is away.

use std::time::Duration;

/// A back-off between attempts to reach a process that is away.
pub(crate) async fn pause(time: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a back-off between attempts to reach a process that is away"
    )]
    tokio::time::sleep(time).await;
}
