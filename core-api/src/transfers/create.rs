//! Making a transfer.

use axum::extract::State;
use axum::response::Response;
use problem::Problem;

use super::transfer::{NewTransfer, TransferOrder, TransferView};
use crate::extract::invalid;
use crate::idempotency::IdempotencyKey;
use crate::identity::{Caller, Operation, StepUpErrors, StepUpToken, TransfersWrite};
use crate::ledger::{Kind, Movement, MovementDraft, MovementErrors};
use crate::state::AppState;

/// Create a transfer
///
/// Moves money from an account of the caller to any account of the same bank. Repeating the request with the same
/// `Idempotency-Key` gives the first answer again, a refusal too: to try again after insufficient funds, use a new key.
///
/// From an amount on that the bank has set, a transfer must be confirmed with a second factor (`step-up-required`); repeat it with
/// the same key and the same confirmation.
#[utoipa::path(
    post, path = "/api/v1/transfers", tag = "transfers", operation_id = "create_transfer",
    security(("bearer" = ["transfers:write"])),
    params(IdempotencyKey, StepUpToken),
    request_body = NewTransfer,
    responses(
        (status = CREATED, description = "Posted", body = TransferView,
         headers(("Location" = String, description = "The transfer"),
                 ("Idempotent-Replayed" = String, description = "`true` when this answer was given before"))),
        MovementErrors, StepUpErrors
    )
)]
pub(super) async fn create_transfer(
    State(state): State<AppState>,
    caller: Caller<TransfersWrite>,
    key: IdempotencyKey,
    Operation { body: new, act }: Operation<NewTransfer>,
) -> Result<Response, Problem> {
    let order = TransferOrder::parse(new).map_err(invalid)?;
    let booked_at = state.now();
    let id = Movement::id_for(&caller, &key);
    if state.identity.factors.confirm_transfers_of(order.amount) {
        act.confirm(&state, &caller, id.uuid()).await?;
    }
    let view = TransferView::posted(id, &order, booked_at);
    let body = serde_json::to_vec(&view).map_err(Problem::internal)?;
    let draft = MovementDraft {
        kind: Kind::Transfer,
        debit: Some(order.from),
        credit: Some(order.to),
        amount: order.amount,
        currency: order.currency,
        reference: order.reference,
        booked_at,
    };
    let location = format!("/api/v1/transfers/{id}");
    let answer = state
        .poster
        .post(Movement::new(&caller, key, draft, body), &location)
        .await?;
    Ok(answer.into_response(Some(&location)))
}
