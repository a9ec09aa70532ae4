//! Queries of the accounts slice. Reads run in a transaction that is bound to a user: row-level security does the rest.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// An account with its balance, both from one snapshot.
pub(super) struct AccountRow {
    pub(super) account_id: i64,
    pub(super) public_id: Uuid,
    pub(super) product: String,
    pub(super) currency: String,
    pub(super) name: Option<String>,
    pub(super) status: i16,
    pub(super) posted: i64,
    pub(super) pending: i64,
    pub(super) available: i64,
    pub(super) created_at: DateTime<Utc>,
}

/// One account by its public id.
pub(super) async fn by_public_id(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<AccountRow>> {
    sqlx::query_as!(
        AccountRow,
        r#"SELECT a.account_id, a.public_id, c.product, k.code AS currency, c.name, b.status,
                  b.cr_posted - b.dr_posted AS "posted!", b.cr_pending - b.dr_pending AS "pending!",
                  b.cr_posted - b.dr_posted - b.dr_pending + coalesce(b.debit_cap, 0) AS "available!", c.created_at
             FROM ledger.account a
             JOIN core.account c ON c.account_id = a.account_id
             JOIN ledger.balance b ON b.account_id = a.account_id
             JOIN ledger.currency k ON k.currency_id = a.currency_id
            WHERE a.public_id = $1"#,
        id,
    )
    .fetch_optional(conn)
    .await
}

/// The accounts after a position, in the order of opening.
pub(super) async fn list(conn: &mut PgConnection, after: i64, limit: i64) -> sqlx::Result<Vec<AccountRow>> {
    sqlx::query_as!(
        AccountRow,
        r#"SELECT a.account_id, a.public_id, c.product, k.code AS currency, c.name, b.status,
                  b.cr_posted - b.dr_posted AS "posted!", b.cr_pending - b.dr_pending AS "pending!",
                  b.cr_posted - b.dr_posted - b.dr_pending + coalesce(b.debit_cap, 0) AS "available!", c.created_at
             FROM core.account c
             JOIN ledger.account a ON a.account_id = c.account_id
             JOIN ledger.balance b ON b.account_id = a.account_id
             JOIN ledger.currency k ON k.currency_id = a.currency_id
            WHERE c.account_id > $1
            ORDER BY c.account_id
            LIMIT $2"#,
        after,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// An account about to be opened; `body` is the answer to keep for `key`.
pub(super) struct NewAccount<'a> {
    pub(super) session_id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) tenant_id: Uuid,
    pub(super) account_id: Uuid,
    pub(super) product: &'a str,
    pub(super) currency: &'a str,
    pub(super) name: Option<&'a str>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) max_accounts: i32,
    pub(super) key: Option<&'a str>,
    pub(super) request_hash: &'a [u8],
    pub(super) body: &'a [u8],
    pub(super) ttl_s: i32,
}

/// What became of it; the outcomes are explained with the function, in the migrations.
pub(super) struct Opened {
    pub(super) outcome: String,
    pub(super) body: Option<Vec<u8>>,
}

pub(super) async fn open(
    db: impl PgExecutor<'_>,
    account: NewAccount<'_>,
    request_id: &str,
) -> sqlx::Result<Opened> {
    sqlx::query_as!(
        Opened,
        r#"SELECT outcome AS "outcome!", body
             FROM core.open_account($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"#,
        account.session_id,
        account.user_id,
        account.tenant_id,
        account.account_id,
        account.product,
        account.currency,
        account.name as _,
        account.created_at,
        account.max_accounts,
        account.key as _,
        account.request_hash,
        account.body,
        account.ttl_s,
        request_id,
    )
    .fetch_one(db)
    .await
}
