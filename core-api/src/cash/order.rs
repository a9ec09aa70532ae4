//! A deposit or a withdrawal: one order, two directions.

use axum::response::Response;
use chrono::{DateTime, Utc};
use problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::extract::invalid;
use crate::idempotency::IdempotencyKey;
use crate::identity::{Caller, CashWrite};
use crate::ids::{AccountId, TransferId};
use crate::ledger::{Kind, Movement, MovementDraft};
use crate::money::{Amount, Currency};
use crate::reference;
use crate::state::AppState;

/// How much, and what for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"amount": 100_000, "currency": "EUR", "reference": "Opening balance"}))]
pub(super) struct CashOrder {
    /// Minor units.
    amount: Amount,
    /// The currency of the account.
    currency: Currency,
    /// What it is for: 1 to 140 characters.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 140)]
    reference: Option<String>,
}

/// A deposit or a withdrawal that was posted.
#[derive(Serialize, ToSchema)]
pub(super) struct CashView {
    /// The movement; entries name it.
    id: TransferId,
    /// `deposit` or `withdrawal`.
    #[schema(example = "deposit")]
    kind: &'static str,
    /// Always `posted`.
    #[schema(example = "posted")]
    status: &'static str,
    /// The account.
    account_id: AccountId,
    /// Minor units.
    amount: Amount,
    /// The currency of the account.
    currency: Currency,
    /// What it is for.
    #[schema(example = "Opening balance")]
    reference: Option<String>,
    /// When it was booked.
    created_at: DateTime<Utc>,
}

/// Posts an order in the direction of `kind`.
pub(super) async fn execute(
    state: &AppState,
    caller: &Caller<CashWrite>,
    key: IdempotencyKey,
    kind: Kind,
    account: AccountId,
    order: CashOrder,
) -> Result<Response, Problem> {
    let reference = reference::parse(order.reference).map_err(|fault| invalid(vec![fault]))?;
    let booked_at = state.now();
    let view = CashView {
        id: Movement::id_for(caller, &key),
        kind: kind.as_str(),
        status: "posted",
        account_id: account,
        amount: order.amount,
        currency: order.currency,
        reference: reference.clone(),
        created_at: booked_at,
    };
    let body = serde_json::to_vec(&view).map_err(Problem::internal)?;
    let draft = MovementDraft {
        kind,
        debit: (kind != Kind::Deposit).then_some(account),
        credit: (kind == Kind::Deposit).then_some(account),
        amount: order.amount,
        currency: order.currency,
        reference,
        booked_at,
    };
    let entries = format!("/api/v1/accounts/{account}/entries");
    let movement = Movement::new(caller, key, draft, body);
    Ok(state.poster.post(movement, &entries).await?.into_response(None))
}
