//! Listing one's accounts.

use axum::extract::State;
use problem::Problem;

use super::account::AccountView;
use super::store;
use crate::database_problem;
use crate::extract::{Json, Query, invalid};
use crate::identity::{AccountsRead, Caller};
use crate::page::{Page, PageQuery};
use crate::state::AppState;

/// List accounts
///
/// The caller's accounts, oldest first.
#[utoipa::path(
    get, path = "/api/v1/accounts", tag = "accounts", operation_id = "list_accounts",
    security(("bearer" = ["accounts:read"])),
    params(PageQuery),
    responses((status = OK, description = "A page of accounts", body = Page<AccountView>))
)]
pub(super) async fn list_accounts(
    State(state): State<AppState>,
    caller: Caller<AccountsRead>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<AccountView>>, Problem> {
    let scope = format!("accounts:{}", caller.user);
    let after = query.position(&state.cursors, &scope, 0).map_err(invalid)?;
    let mut tx = caller.begin_read(&state.db).await?;
    let rows = store::list(&mut tx, after, query.rows_to_read())
        .await
        .map_err(database_problem)?;
    let page = query.cut(&state.cursors, &scope, rows, |row| row.account_id);
    Ok(Json(page.map(AccountView::from)))
}
