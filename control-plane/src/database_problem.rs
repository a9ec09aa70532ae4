//! What a client is told when PostgreSQL fails.

use problem::{Problem, catalogue};

/// 503 where trying again may help, 500 otherwise; the log has the cause.
pub(crate) fn of(error: sqlx::Error) -> Problem {
    if is_unavailable(&error) {
        tracing::warn!(%error, "the database is not available");
        Problem::new(catalogue::UNAVAILABLE).retry_after(1)
    } else {
        Problem::internal(error)
    }
}

/// Whether trying again may help: no connection, a server that starts or stops (57P), one that is full (53300), a lock or
/// statement that took too long (55P03, 57014), a deadlock or serialisation failure (40).
pub(crate) fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(database) => database.code().is_some_and(|code| {
            code.starts_with("57P")
                || code.starts_with("40")
                || ["53300", "55P03", "57014"].contains(&code.as_ref())
        }),
        _ => false,
    }
}
