//! An account as its owner sees it.

use chrono::{DateTime, Utc};
use problem::Problem;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::store::{self, AccountRow};
use crate::database_problem;
use crate::ids::AccountId;
use crate::ledger::ACCOUNT_NOT_FOUND;
use crate::money::Currency;

/// What kind of account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Product {
    /// For everyday money.
    Checking,
    /// For money that stays.
    Savings,
}

impl Product {
    /// The word in the database and in answers.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Savings => "savings",
        }
    }
}

/// An account.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccountView {
    /// The account.
    pub(super) id: AccountId,
    /// What kind of account: `checking` or `savings`.
    #[schema(value_type = Product)]
    pub(super) product: String,
    /// The one currency it keeps.
    #[schema(value_type = Currency)]
    pub(super) currency: String,
    /// What its owner calls it.
    #[schema(example = "Holidays", max_length = 100)]
    pub(super) name: Option<String>,
    /// `active`, `no_debits`, `frozen` or `closed`.
    #[schema(example = "active")]
    pub(super) status: &'static str,
    /// What it holds.
    pub(super) balance: BalanceView,
    /// When it was opened.
    pub(super) created_at: DateTime<Utc>,
}

/// What an account holds, in minor units, all three from one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct BalanceView {
    /// Booked.
    #[schema(example = 12_500)]
    pub(super) posted: i64,
    /// On its way: what holds would add (positive) or take (negative).
    #[schema(example = 0)]
    pub(super) pending: i64,
    /// What can be spent now: posted, less what is held, plus the agreed overdraft.
    #[schema(example = 12_500)]
    pub(super) available: i64,
}

impl AccountView {
    /// An account that was just opened.
    pub(super) fn opened(
        id: AccountId,
        product: Product,
        currency: Currency,
        name: Option<String>,
        at: DateTime<Utc>,
    ) -> Self {
        Self {
            id,
            product: product.as_str().to_owned(),
            currency: currency.to_string(),
            name,
            status: status_word(0),
            balance: BalanceView {
                posted: 0,
                pending: 0,
                available: 0,
            },
            created_at: at,
        }
    }
}

impl From<AccountRow> for AccountView {
    fn from(row: AccountRow) -> Self {
        Self {
            id: AccountId::from_uuid(row.public_id),
            product: row.product,
            currency: row.currency,
            name: row.name,
            status: status_word(row.status),
            balance: BalanceView {
                posted: row.posted,
                pending: row.pending,
                available: row.available,
            },
            created_at: row.created_at,
        }
    }
}

const fn status_word(status: i16) -> &'static str {
    match status {
        0 => "active",
        1 => "no_debits",
        2 => "frozen",
        _ => "closed",
    }
}

/// An account of the reading caller, by its number in the ledger and its currency.
pub(crate) struct FoundAccount {
    pub(crate) account_id: i64,
    pub(crate) currency: String,
}

/// Finds an account of the reading caller; somebody else's is not found.
pub(crate) async fn find(conn: &mut PgConnection, id: AccountId) -> Result<FoundAccount, Problem> {
    let row = store::by_public_id(conn, id.uuid())
        .await
        .map_err(database_problem)?;
    let row = row.ok_or_else(|| Problem::new(ACCOUNT_NOT_FOUND))?;
    Ok(FoundAccount {
        account_id: row.account_id,
        currency: row.currency,
    })
}
