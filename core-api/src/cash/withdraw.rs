//! Cash out of an account.

use axum::extract::State;
use axum::response::Response;
use problem::Problem;

use super::order::{CashOrder, CashView, execute};
use crate::extract::{Json, Path};
use crate::idempotency::IdempotencyKey;
use crate::identity::{Caller, CashWrite};
use crate::ids::AccountId;
use crate::ledger::{Kind, MovementErrors};
use crate::state::AppState;

/// Withdraw
///
/// Debits the account and credits the bank's cash. What is not there cannot be withdrawn.
#[utoipa::path(
    post, path = "/api/v1/accounts/{id}/withdrawals", tag = "cash", operation_id = "withdraw",
    security(("bearer" = ["cash:write"])),
    params(("id" = AccountId, Path, description = "The account"), IdempotencyKey),
    request_body = CashOrder,
    responses(
        (status = CREATED, description = "Posted", body = CashView,
         headers(("Idempotent-Replayed" = String, description = "`true` when this answer was given before"))),
        MovementErrors
    )
)]
pub(super) async fn withdraw(
    State(state): State<AppState>,
    caller: Caller<CashWrite>,
    Path(account): Path<AccountId>,
    key: IdempotencyKey,
    Json(order): Json<CashOrder>,
) -> Result<Response, Problem> {
    execute(&state, &caller, key, Kind::Withdrawal, account, order).await
}
