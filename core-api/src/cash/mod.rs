//! Money in and out over the counter. The bank's cash account of the currency is the other side.
//!
//! The scope `cash:write` is for tellers and rails; customers have it in development only.

mod deposit;
mod order;
#[cfg(test)]
mod tests;
mod withdraw;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::AppState;

/// The routes of this slice.
pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(deposit::deposit))
        .routes(routes!(withdraw::withdraw))
}
