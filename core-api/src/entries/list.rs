//! Listing the entries of an account.

use axum::extract::State;
use chrono::{DateTime, Utc};
use problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::store::{self, EntryRow};
use crate::accounts::{self, AccountErrors};
use crate::database_problem;
use crate::extract::{Json, Path, Query, invalid};
use crate::identity::{AccountsRead, Caller};
use crate::ids::{AccountId, TransferId};
use crate::ledger::Kind;
use crate::money::{Amount, Currency};
use crate::page::{Page, PageQuery};
use crate::state::AppState;

/// Which way the money went, seen from the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Direction {
    /// Into the account.
    Credit,
    /// Out of the account.
    Debit,
}

/// One line of an account.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EntryView {
    /// The movement it belongs to: the `id` that the POST gave.
    id: TransferId,
    /// `deposit`, `withdrawal` or `transfer`.
    #[schema(example = "transfer")]
    kind: &'static str,
    /// Which way the money went.
    direction: Direction,
    /// Minor units.
    #[schema(value_type = Amount)]
    amount: i64,
    /// The currency of the account.
    #[schema(value_type = Currency)]
    currency: String,
    /// What the account held after this line, minor units.
    #[schema(example = 97_500)]
    balance_after: i64,
    /// The other customer's account; null when the other side is the bank.
    counterparty_account_id: Option<AccountId>,
    /// What it is for.
    #[schema(example = "Rent, May")]
    reference: Option<String>,
    /// When it was booked.
    booked_at: DateTime<Utc>,
}

/// List entries
///
/// The lines of one account, newest first. `balance_after` of a line is `balance_after` of the line before it, plus or
/// minus its amount.
#[utoipa::path(
    get, path = "/api/v1/accounts/{id}/entries", tag = "accounts", operation_id = "list_entries",
    security(("bearer" = ["accounts:read"])),
    params(("id" = AccountId, Path, description = "The account"), PageQuery),
    responses((status = OK, description = "A page of entries", body = Page<EntryView>), AccountErrors)
)]
pub(super) async fn list_entries(
    State(state): State<AppState>,
    caller: Caller<AccountsRead>,
    Path(id): Path<AccountId>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<EntryView>>, Problem> {
    let scope = format!("entries:{id}");
    let before = query
        .position(&state.cursors, &scope, i64::MAX)
        .map_err(invalid)?;
    let mut tx = caller.begin_read(&state.db).await?;
    let account = accounts::find(&mut tx, id).await?;
    let rows = store::list(&mut tx, account.account_id, before, query.rows_to_read())
        .await
        .map_err(database_problem)?;
    let page = query.cut(&state.cursors, &scope, rows, |row| row.seq);
    Ok(Json(page.map(|row| view(row, &account.currency))))
}

/// The ledger counts debits as positive; a customer's account is a liability of the bank, so his view has the signs
/// the other way round.
fn view(row: EntryRow, currency: &str) -> EntryView {
    EntryView {
        id: TransferId::from_uuid(row.entry_id),
        kind: Kind::from_number(row.kind).map_or("other", Kind::as_str),
        direction: if row.amount < 0 {
            Direction::Credit
        } else {
            Direction::Debit
        },
        amount: row.amount.saturating_abs(),
        currency: currency.to_owned(),
        balance_after: row.balance_after.saturating_neg(),
        counterparty_account_id: row.counterparty.map(AccountId::from_uuid),
        reference: row.reference,
        booked_at: row.booked_at,
    }
}
