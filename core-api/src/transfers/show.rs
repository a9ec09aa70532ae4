//! Showing one transfer.

use axum::extract::State;
use problem::Problem;

use super::transfer::TransferView;
use super::{TRANSFER_NOT_FOUND, TransferErrors, store};
use crate::database_problem;
use crate::extract::{Json, Path};
use crate::identity::{Caller, TransfersRead};
use crate::ids::TransferId;
use crate::state::AppState;

/// Show a transfer
///
/// Visible to both sides, and to nobody else.
#[utoipa::path(
    get, path = "/api/v1/transfers/{id}", tag = "transfers", operation_id = "show_transfer",
    security(("bearer" = ["transfers:read"])),
    params(("id" = TransferId, Path, description = "The transfer")),
    responses((status = OK, description = "The transfer", body = TransferView), TransferErrors)
)]
pub(super) async fn show_transfer(
    State(state): State<AppState>,
    caller: Caller<TransfersRead>,
    Path(id): Path<TransferId>,
) -> Result<Json<TransferView>, Problem> {
    let mut tx = caller.begin_read(&state.db).await?;
    let row = store::by_id(&mut tx, id.uuid()).await.map_err(database_problem)?;
    row.map(|row| Json(row.into()))
        .ok_or_else(|| Problem::new(TRANSFER_NOT_FOUND))
}
