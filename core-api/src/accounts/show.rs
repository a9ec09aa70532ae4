//! Showing one account.

use axum::extract::State;
use problem::Problem;

use super::account::AccountView;
use super::{AccountErrors, store};
use crate::database_problem;
use crate::extract::{Json, Path};
use crate::identity::{AccountsRead, Caller};
use crate::ids::AccountId;
use crate::ledger::ACCOUNT_NOT_FOUND;
use crate::state::AppState;

/// Show an account
///
/// An account that belongs to somebody else is answered as one that does not exist.
#[utoipa::path(
    get, path = "/api/v1/accounts/{id}", tag = "accounts", operation_id = "show_account",
    security(("bearer" = ["accounts:read"])),
    params(("id" = AccountId, Path, description = "The account")),
    responses((status = OK, description = "The account", body = AccountView), AccountErrors)
)]
pub(super) async fn show_account(
    State(state): State<AppState>,
    caller: Caller<AccountsRead>,
    Path(id): Path<AccountId>,
) -> Result<Json<AccountView>, Problem> {
    let mut tx = caller.begin_read(&state.db).await?;
    let row = store::by_public_id(&mut tx, id.uuid())
        .await
        .map_err(database_problem)?;
    row.map(|row| Json(row.into()))
        .ok_or_else(|| Problem::new(ACCOUNT_NOT_FOUND))
}
