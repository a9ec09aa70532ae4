//! Transfers move money between two accounts of this bank.
//!
//! The one to debit is the caller's; the one to credit may be anybody's of the same tenant. Both sides see the transfer.

mod create;
mod list;
mod show;
mod store;
#[cfg(test)]
mod tests;
mod transfer;

use problem::ProblemType;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::documentation::problems;
use crate::state::AppState;

/// There is no such transfer, or it is none of the caller's.
const TRANSFER_NOT_FOUND: ProblemType =
    ProblemType::new("transfer-not-found", 404, "There is no such transfer");

problems! {
    /// What showing a transfer may be refused with.
    TransferErrors: TRANSFER_NOT_FOUND;
}

/// The routes of this slice.
pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(create::create_transfer, list::list_transfers))
        .routes(routes!(show::show_transfer))
}
