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
mod hidden;
mod idempotency;
mod identity;
mod ids;
mod languages;
mod ledger;
mod mail;
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

pub use identity::{AccountDeed, AccountDone, Calibration, FactorReset, PolicyReader, calibrate};
pub use run::{operate, reset_factors, run, unlock};
pub use settings::Settings;

use database::Failure;
use problem::{Problem, catalogue};

/// The OpenAPI 3.1 document of this API.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    router::openapi()
}

/// What a client is told when a query fails: to come back when the database is away or busy, nothing when it is our fault.
/// Whether it was done is not known when the connection broke off, so that this is for what may be done twice; anything else
/// says more.
pub(crate) fn database_problem(error: sqlx::Error) -> Problem {
    let failure = Failure::of(&error);
    if failure.passes() {
        tracing::warn!(%error, ?failure, "the database is away or busy");
        Problem::new(catalogue::UNAVAILABLE)
            .detail("the database is away or busy")
            .retry_after(1)
    } else {
        Problem::internal(error)
    }
}
