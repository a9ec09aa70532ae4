//! Queries of the entries slice.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// One posting of an account; debits are positive.
pub(super) struct EntryRow {
    pub(super) seq: i64,
    pub(super) entry_id: Uuid,
    pub(super) kind: i16,
    pub(super) amount: i64,
    pub(super) balance_after: i64,
    pub(super) counterparty: Option<Uuid>,
    pub(super) reference: Option<String>,
    pub(super) booked_at: DateTime<Utc>,
}

/// The postings of one account before a position, newest first.
pub(super) async fn list(
    conn: &mut PgConnection,
    account_id: i64,
    before: i64,
    limit: i64,
) -> sqlx::Result<Vec<EntryRow>> {
    sqlx::query_as!(
        EntryRow,
        r#"SELECT p.seq AS "seq!", p.entry_id AS "entry_id!", e.kind, p.amount AS "amount!", p.balance_after AS "balance_after!",
                  ledger.public_account_id(p.counterparty_id) AS counterparty, e.reference, e.booked_at
             FROM ledger.posting p
             JOIN ledger.entry e ON e.entry_id = p.entry_id
            WHERE p.account_id = $1 AND p.seq < $2
            ORDER BY p.seq DESC
            LIMIT $3"#,
        account_id,
        before,
        limit,
    )
    .fetch_all(conn)
    .await
}
