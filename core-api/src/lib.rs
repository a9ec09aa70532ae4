//! The core banking API: identity, accounts and the ledger behind the gateway.
//!
//! **Invariant:** the core is the last word. It verifies tokens itself, asks the database whether the session is live,
//! and moves money through one posting statement that checks all of it again.

#![warn(missing_docs)]

mod accounts;
mod cash;
mod cursor;
mod documentation;
mod entries;
mod extract;
mod health;
mod idempotency;
mod identity;
mod ids;
mod ledger;
mod metrics;
mod money;
mod page;
mod reference;
mod router;
mod run;
pub mod settings;
mod state;
#[cfg(test)]
mod tests;
mod transfers;

pub use identity::PolicyReader;
pub use run::{run, unlock};
pub use settings::Settings;

use problem::{Problem, catalogue};

/// The OpenAPI 3.1 document of this API.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    router::openapi()
}

/// What a client is told when a query fails: to come back when the database is away or busy, nothing when it is our fault.
pub(crate) fn database_problem(error: sqlx::Error) -> Problem {
    let code = error
        .as_database_error()
        .and_then(|database| database.code().map(std::borrow::Cow::into_owned));
    let away = matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
    );
    let busy = code.is_some_and(|code| {
        matches!(code.as_str(), "40P01" | "40001" | "55P03" | "57014" | "23505")
            || ["57P", "08", "53"].iter().any(|class| code.starts_with(class))
    });
    if away || busy {
        tracing::warn!(%error, "the database is away or busy");
        Problem::new(catalogue::UNAVAILABLE)
            .detail("the database is away or busy")
            .retry_after(1)
    } else {
        Problem::internal(error)
    }
}
