//! Listing one's transfers.

use axum::extract::State;
use problem::Problem;

use super::store;
use super::transfer::TransferView;
use crate::database_problem;
use crate::extract::{Json, Query, invalid};
use crate::identity::{Caller, TransfersRead};
use crate::page::{Page, PageQuery};
use crate::state::AppState;

/// List transfers
///
/// Transfers from or to the caller's accounts, newest first.
#[utoipa::path(
    get, path = "/api/v1/transfers", tag = "transfers", operation_id = "list_transfers",
    security(("bearer" = ["transfers:read"])),
    params(PageQuery),
    responses((status = OK, description = "A page of transfers", body = Page<TransferView>))
)]
pub(super) async fn list_transfers(
    State(state): State<AppState>,
    caller: Caller<TransfersRead>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<TransferView>>, Problem> {
    let scope = format!("transfers:{}", caller.user);
    let before = query
        .position(&state.cursors, &scope, i64::MAX)
        .map_err(invalid)?;
    let mut tx = caller.begin_read(&state.db).await?;
    let rows = store::list(&mut tx, before, query.rows_to_read())
        .await
        .map_err(database_problem)?;
    let page = query.cut(&state.cursors, &scope, rows, |row| row.seq);
    Ok(Json(page.map(TransferView::from)))
}
