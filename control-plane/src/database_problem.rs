//! What a client is told when PostgreSQL fails.

use database::Failure;
use problem::{Problem, catalogue};

/// 503 where trying again may help, 500 otherwise; the log has the cause.
pub(crate) fn of(error: sqlx::Error) -> Problem {
    let failure = Failure::of(&error);
    if !failure.passes() {
        return Problem::internal(error);
    }
    tracing::warn!(%error, ?failure, "the database is not available");
    let detail = match failure {
        Failure::Lost => {
            "the connection to the database broke off: whether it was done is not known, so look before you ask again"
        }
        _ => "the database is away or busy",
    };
    Problem::new(catalogue::UNAVAILABLE).detail(detail).retry_after(1)
}
