//! The one way to move money: movements wait in a bounded queue, travel in batches, and each batch is one statement.
//!
//! **Invariant:** whatever belongs to a movement (session check, idempotency record, legs, balances, outbox and audit
//! rows) is committed by that statement or not at all. Repeating a statement whose fate is unknown is safe, because its
//! entry ids are fixed.

mod batch;
mod movement;
mod poster;
mod store;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use movement::{ACCOUNT_NOT_FOUND, Kind, Movement, MovementDraft};
pub(crate) use poster::Poster;

use crate::documentation::problems;
use crate::idempotency::{ALREADY_PROCESSED, KEY_MALFORMED, KEY_REQUIRED, KEY_REUSED};

problems! {
    /// What every movement of money may be refused with.
    MovementErrors: KEY_REQUIRED, KEY_MALFORMED, KEY_REUSED, ALREADY_PROCESSED, ACCOUNT_NOT_FOUND,
        movement::INSUFFICIENT_FUNDS, movement::CURRENCY_MISMATCH, movement::ACCOUNT_BLOCKED, movement::BALANCE_LIMIT;
}
