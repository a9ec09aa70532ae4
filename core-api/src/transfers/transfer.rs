//! What a transfer is asked for with, and how it is shown.

use chrono::{DateTime, Utc};
use problem::FieldError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::store::TransferRow;
use crate::ids::{AccountId, TransferId};
use crate::money::{Amount, Currency};
use crate::reference;

/// A transfer as a client writes it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "from_account_id": "acc_01kafpwz0zfmx9tpr6z5qgyf0h", "to_account_id": "acc_01kafpx3vgfd5t8y2w5m0c9b7e",
    "amount": 2_500, "currency": "EUR", "reference": "Rent, May"
}))]
pub(super) struct NewTransfer {
    /// The account to debit; it is the caller's.
    from_account_id: AccountId,
    /// The account to credit; it may be anybody's.
    to_account_id: AccountId,
    /// Minor units.
    amount: Amount,
    /// The currency of both accounts.
    currency: Currency,
    /// What it is for: 1 to 140 characters. Both sides read it.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 140)]
    reference: Option<String>,
}

/// A transfer order that breaks no rule of its own; what the accounts say to it, the ledger decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TransferOrder {
    pub(super) from: AccountId,
    pub(super) to: AccountId,
    pub(super) amount: Amount,
    pub(super) currency: Currency,
    pub(super) reference: Option<String>,
}

impl TransferOrder {
    /// Checks what can be checked without the accounts; tells every fault at once.
    pub(super) fn parse(new: NewTransfer) -> Result<Self, Vec<FieldError>> {
        let mut faults = Vec::new();
        if new.from_account_id == new.to_account_id {
            faults.push(FieldError::new(
                "/to_account_id",
                "same_account",
                "must be another account than the one to debit",
            ));
        }
        let reference = reference::parse(new.reference).unwrap_or_else(|fault| {
            faults.push(fault);
            None
        });
        if faults.is_empty() {
            Ok(Self {
                from: new.from_account_id,
                to: new.to_account_id,
                amount: new.amount,
                currency: new.currency,
                reference,
            })
        } else {
            Err(faults)
        }
    }
}

/// A transfer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TransferView {
    /// The transfer.
    pub(super) id: TransferId,
    /// Always `posted`.
    #[schema(example = "posted")]
    pub(super) status: &'static str,
    /// The account that was debited.
    pub(super) from_account_id: Option<AccountId>,
    /// The account that was credited.
    pub(super) to_account_id: Option<AccountId>,
    /// Minor units.
    #[schema(value_type = Amount)]
    pub(super) amount: i64,
    /// The currency of both accounts.
    #[schema(value_type = Currency)]
    pub(super) currency: String,
    /// What it is for.
    #[schema(example = "Rent, May")]
    pub(super) reference: Option<String>,
    /// When it was booked.
    pub(super) created_at: DateTime<Utc>,
}

impl TransferView {
    /// An order that posts at this moment.
    pub(super) fn posted(id: TransferId, order: &TransferOrder, at: DateTime<Utc>) -> Self {
        Self {
            id,
            status: "posted",
            from_account_id: Some(order.from),
            to_account_id: Some(order.to),
            amount: order.amount.minor(),
            currency: order.currency.to_string(),
            reference: order.reference.clone(),
            created_at: at,
        }
    }
}

impl From<TransferRow> for TransferView {
    fn from(row: TransferRow) -> Self {
        Self {
            id: TransferId::from_uuid(row.entry_id),
            status: "posted",
            from_account_id: row.debit_account.map(AccountId::from_uuid),
            to_account_id: row.credit_account.map(AccountId::from_uuid),
            amount: row.amount,
            currency: row.currency,
            reference: row.reference,
            created_at: row.booked_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_an_order_is_told_at_once() {
        let account = AccountId::new(DateTime::UNIX_EPOCH);
        let new = NewTransfer {
            from_account_id: account,
            to_account_id: account,
            amount: Amount::try_from(1).unwrap(),
            currency: "EUR".parse().unwrap(),
            reference: Some(String::new()),
        };
        let pointers: Vec<_> = TransferOrder::parse(new)
            .unwrap_err()
            .into_iter()
            .map(|fault| fault.pointer)
            .collect();
        assert_eq!(pointers, ["/to_account_id", "/reference"]);
    }
}
