//! What the database announces at commit, on a connection of its own.

use database::Pool;
use futures::FutureExt as _;
use sqlx::postgres::PgListener;

/// Listens from now on.
pub(crate) async fn listen(db: &Pool, channels: &[&str]) -> sqlx::Result<PgListener> {
    // A login that was rotated is replaced here: the listener's own way to the database could not wait for that.
    drop(db.acquire().await?);
    let mut listener = PgListener::connect_with(db.inner()).await?;
    // A lost connection is the caller's business: announcements made meanwhile are lost with it.
    listener.eager_reconnect(false);
    listener.listen_all(channels.iter().copied()).await?;
    Ok(listener)
}

/// Waits for an announcement; says whether the connection is still good. Without a connection it waits for ever: the
/// other branches go on.
pub(crate) async fn next(listener: &mut Option<PgListener>) -> bool {
    match listener {
        Some(listener) => matches!(listener.try_recv().await, Ok(Some(_))),
        None => std::future::pending().await,
    }
}

/// Takes what has been announced already: one look answers all of it.
pub(crate) fn take_all(listener: &mut Option<PgListener>) {
    while let Some(open) = listener {
        match open.try_recv().now_or_never() {
            Some(Ok(Some(_))) => {}
            Some(_) => *listener = None,
            None => return,
        }
    }
}
