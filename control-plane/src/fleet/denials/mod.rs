//! What is no longer good although nothing in a token shows it, and which networks are blocked.
//!
//! `revoke.rs` and `block.rs` are for operators, `list.rs` is what gateways are told, `store.rs` holds the SQL. The tables
//! count, number and announce every change themselves, so core-api revokes through `control.revoke` and is heard the same.

mod block;
mod list;
mod revoke;
mod store;

pub(crate) use block::{add_block, list_blocks, remove_block};
use list::seq;
pub(super) use list::{blocks, revocations, sweep};
pub(crate) use revoke::{add_revocation, list_revocations, remove_revocation};
