//! What the database announces at commit, on a connection of its own.

use database::Pool;
use futures::FutureExt as _;
use sqlx::postgres::PgListener;

/// A connection that hears announcements, and which of the logins it was opened with.
#[derive(Debug)]
pub(crate) struct Listener {
    connection: PgListener,
    generation: u64,
}

impl Listener {
    /// Listens from now on.
    pub(crate) async fn open(db: &Pool, channels: &[&str]) -> sqlx::Result<Self> {
        // A login that was rotated is replaced here: the listener's own way to the database could not wait for that.
        drop(db.acquire().await?);
        // Read before the login is, which is of this generation or of a later one then; a connection of the pool might be older.
        let generation = db.generation();
        let mut connection = PgListener::connect_with(&db.apart()).await?;
        // A lost connection is the caller's business: announcements made meanwhile are lost with it.
        connection.eager_reconnect(false);
        connection.listen_all(channels.iter().copied()).await?;
        Ok(Self {
            connection,
            generation,
        })
    }

    /// Whether its login is the one of today. What was lent is taken back when its lease ends, and the connection would outlive
    /// the user that it was made for.
    pub(crate) fn is_current(&self, db: &Pool) -> bool {
        self.generation == db.generation()
    }
}

/// Waits for an announcement; says whether the connection is still good. Without a connection it waits for ever: the
/// other branches go on.
pub(crate) async fn next(listener: &mut Option<Listener>) -> bool {
    match listener {
        Some(listener) => matches!(listener.connection.try_recv().await, Ok(Some(_))),
        None => std::future::pending().await,
    }
}

/// Takes what has been announced already: one look answers all of it.
pub(crate) fn take_all(listener: &mut Option<Listener>) {
    while let Some(open) = listener {
        match open.connection.try_recv().now_or_never() {
            Some(Ok(Some(_))) => {}
            Some(_) => *listener = None,
            None => return,
        }
    }
}
