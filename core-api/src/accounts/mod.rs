//! Accounts: what customers keep their money in. What one holds is the ledger's business; this slice shows it.

mod account;
mod list;
mod open;
mod show;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use account::find;

use problem::ProblemType;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::documentation::problems;
use crate::idempotency::{ALREADY_PROCESSED, KEY_MALFORMED, KEY_REUSED};
use crate::ledger::ACCOUNT_NOT_FOUND;
use crate::state::AppState;

/// The bank does not keep this currency.
const UNKNOWN_CURRENCY: ProblemType =
    ProblemType::new("unknown-currency", 422, "The bank does not keep this currency");
/// The user has as many accounts as one may have.
const TOO_MANY_ACCOUNTS: ProblemType =
    ProblemType::new("too-many-accounts", 422, "No further account can be opened");

problems! {
    /// What opening an account may be refused with.
    OpenErrors: UNKNOWN_CURRENCY, TOO_MANY_ACCOUNTS, KEY_MALFORMED, KEY_REUSED, ALREADY_PROCESSED;
    /// What showing one account may be refused with.
    AccountErrors: ACCOUNT_NOT_FOUND;
}

/// The routes of this slice.
pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(open::open_account, list::list_accounts))
        .routes(routes!(show::show_account))
}
