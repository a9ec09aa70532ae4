//! The auditor's queries: each counts the rows that break one invariant.

use sqlx::PgConnection;

/// Currencies whose postings do not sum to zero.
pub(super) async fn unbalanced(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "rows!" FROM (
               SELECT currency_id FROM ledger.posting GROUP BY currency_id HAVING sum(amount) <> 0) broken"#
    )
    .fetch_one(conn)
    .await
}

/// Accounts whose stored counters differ from what their transfers add up to.
pub(super) async fn wrong_balances(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "rows!"
             FROM ledger.balance b
             LEFT JOIN (SELECT debit_id AS account_id, sum(amount) AS posted, sum(pending) AS pending
                          FROM ledger.transfer GROUP BY debit_id) d USING (account_id)
             LEFT JOIN (SELECT credit_id AS account_id, sum(amount) AS posted, sum(pending) AS pending
                          FROM ledger.transfer GROUP BY credit_id) c USING (account_id)
            WHERE b.dr_posted <> coalesce(d.posted, 0) OR b.cr_posted <> coalesce(c.posted, 0)
               OR b.dr_pending <> coalesce(d.pending, 0) OR b.cr_pending <> coalesce(c.pending, 0)"#
    )
    .fetch_one(conn)
    .await
}

/// Postings whose balance is not the one before plus their amount.
pub(super) async fn broken_chains(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "rows!" FROM (
               SELECT balance_after, amount,
                      lag(balance_after, 1, 0::bigint) OVER (PARTITION BY account_id ORDER BY seq) AS balance_before
                 FROM ledger.posting) chain
            WHERE balance_after <> balance_before + amount"#
    )
    .fetch_one(conn)
    .await
}

/// Balances beyond their cap by more than what was forced.
pub(super) async fn broken_caps(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "rows!" FROM ledger.balance
            WHERE dr_posted + dr_pending - cr_posted > debit_cap + forced
               OR cr_posted + cr_pending - dr_posted > credit_cap + forced"#
    )
    .fetch_one(conn)
    .await
}

/// Entries without a transfer and transfers without an entry.
pub(super) async fn orphans(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "rows!"
             FROM ledger.entry e FULL JOIN ledger.transfer t USING (entry_id)
            WHERE e.entry_id IS NULL OR t.entry_id IS NULL OR e.tenant_id <> t.tenant_id"#
    )
    .fetch_one(conn)
    .await
}

/// Entries of kind “transfer” (3).
pub(super) async fn transfers_booked(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "rows!" FROM ledger.entry WHERE kind = 3"#)
        .fetch_one(conn)
        .await
}
