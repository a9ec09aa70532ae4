//! Queries of the transfers slice. Row-level security shows the transfers of the caller's accounts and no others.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// A transfer as both sides may see it.
pub(super) struct TransferRow {
    pub(super) seq: i64,
    pub(super) entry_id: Uuid,
    pub(super) debit_account: Option<Uuid>,
    pub(super) credit_account: Option<Uuid>,
    pub(super) amount: i64,
    pub(super) currency: String,
    pub(super) reference: Option<String>,
    pub(super) booked_at: DateTime<Utc>,
}

/// One transfer (an entry of kind 3).
pub(super) async fn by_id(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<TransferRow>> {
    sqlx::query_as!(
        TransferRow,
        "SELECT t.seq, t.entry_id, ledger.public_account_id(t.debit_id) AS debit_account,
                ledger.public_account_id(t.credit_id) AS credit_account, t.amount, k.code AS currency, e.reference, e.booked_at
           FROM ledger.transfer t
           JOIN ledger.entry e ON e.entry_id = t.entry_id
           JOIN ledger.currency k ON k.currency_id = t.currency_id
          WHERE t.entry_id = $1 AND t.leg = 1 AND e.kind = 3",
        id,
    )
    .fetch_optional(conn)
    .await
}

/// Transfers before a position, newest first. Each account gives at most `limit` rows per side from its own index, so
/// that the cost does not grow with the journal.
pub(super) async fn list(conn: &mut PgConnection, before: i64, limit: i64) -> sqlx::Result<Vec<TransferRow>> {
    sqlx::query_as!(
        TransferRow,
        r#"WITH mine AS MATERIALIZED (SELECT account_id FROM ledger.account),
                hit AS (
                    SELECT x.seq FROM mine CROSS JOIN LATERAL (
                        SELECT t.seq FROM ledger.transfer t JOIN ledger.entry e ON e.entry_id = t.entry_id AND e.kind = 3
                         WHERE t.debit_id = mine.account_id AND t.leg = 1 AND t.seq < $1 ORDER BY t.seq DESC LIMIT $2) x
                    UNION
                    SELECT x.seq FROM mine CROSS JOIN LATERAL (
                        SELECT t.seq FROM ledger.transfer t JOIN ledger.entry e ON e.entry_id = t.entry_id AND e.kind = 3
                         WHERE t.credit_id = mine.account_id AND t.leg = 1 AND t.seq < $1 ORDER BY t.seq DESC LIMIT $2) x)
           SELECT t.seq, t.entry_id, ledger.public_account_id(t.debit_id) AS debit_account,
                  ledger.public_account_id(t.credit_id) AS credit_account, t.amount, k.code AS currency, e.reference, e.booked_at
             FROM hit
             JOIN ledger.transfer t ON t.seq = hit.seq
             JOIN ledger.entry e ON e.entry_id = t.entry_id
             JOIN ledger.currency k ON k.currency_id = t.currency_id
            ORDER BY t.seq DESC
            LIMIT $2"#,
        before,
        limit,
    )
    .fetch_all(conn)
    .await
}
