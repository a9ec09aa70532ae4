//! What tests ask and tell the database directly: arranging what no client can arrange, and looking behind row-level
//! security. Statements are dynamic, so that the product's checked queries stay the product's.
#![expect(
    clippy::disallowed_methods,
    reason = "test statements are not part of the product's checked queries"
)]

use keyring::SealedPrivateKey;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row as _};
use uuid::Uuid;

use crate::ledger::tests::{Entry, Leg};

/// Each row: an invariant that is broken, and how often.
const INVARIANTS: &str = include_str!("invariants.sql");

/// The invariants I1 to I6 that do not hold, over every row of the ledger, in one snapshot.
pub(crate) async fn broken_invariants(owner: &PgPool) -> Vec<String> {
    let rows = sqlx::query(INVARIANTS).fetch_all(owner).await.unwrap();
    rows.iter()
        .map(|row| format!("{} ({} rows)", row.get::<String, _>(0), row.get::<i64, _>(1)))
        .collect()
}

/// Runs statements as they are.
pub(crate) async fn execute(pool: &PgPool, sql: &str) -> sqlx::Result<u64> {
    sqlx::query(AssertSqlSafe(sql.to_owned()))
        .execute(pool)
        .await
        .map(|done| done.rows_affected())
}

/// Runs a statement on one connection.
pub(crate) async fn execute_on(conn: &mut PgConnection, sql: &str) -> sqlx::Result<u64> {
    sqlx::query(AssertSqlSafe(sql.to_owned()))
        .execute(conn)
        .await
        .map(|done| done.rows_affected())
}

/// One number.
pub(crate) async fn number(pool: &PgPool, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
        .fetch_one(pool)
        .await
        .unwrap()
}

/// One number, on one connection.
pub(crate) async fn number_on(conn: &mut PgConnection, sql: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
        .fetch_one(conn)
        .await
}

/// One text per row.
pub(crate) async fn texts(pool: &PgPool, sql: &str) -> Vec<String> {
    let rows: Vec<PgRow> = sqlx::query(AssertSqlSafe(sql.to_owned()))
        .fetch_all(pool)
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Makes a key the active one of the ring `access`; the active one retires, and verifies for a quarter of an hour.
pub(crate) async fn activate_key(
    owner: &PgPool,
    kid: &str,
    algorithm: &str,
    public: &[u8],
    sealed: &SealedPrivateKey,
) {
    let mut tx = owner.begin().await.unwrap();
    let ring = "INSERT INTO control.key_ring (ring, seq) VALUES ('access', 1)
                ON CONFLICT (ring) DO UPDATE SET seq = key_ring.seq + 1, updated_at = clock_timestamp()";
    let retire = "UPDATE control.signing_key SET state = 'retiring', retiring_at = now(), sign_until = now() + interval '5 s',
                         verify_until = now() + interval '15 min'
                   WHERE ring = 'access' AND state = 'active'";
    sqlx::query(ring).execute(&mut *tx).await.unwrap();
    sqlx::query(retire).execute(&mut *tx).await.unwrap();
    sqlx::query(
        "INSERT INTO control.signing_key (kid, ring, algorithm, state, public_key, sealed_private_key, kek_version, published_at,
                 published_seq, wrapped_data_key)
         VALUES ($1, 'access', $2, 'published', $3, $4, 1, now(), 1, $5)",
    )
    .bind(kid)
    .bind(algorithm)
    .bind(public)
    .bind(&sealed.ciphertext)
    .bind(&sealed.wrapped_data_key)
    .execute(&mut *tx)
    .await
    .unwrap();
    sqlx::query("UPDATE control.signing_key SET state = 'active', activated_at = now() WHERE kid = $1")
        .bind(kid)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

/// An account of the ledger as a test wants it.
#[derive(Debug, Clone)]
pub(crate) struct LedgerAccount {
    /// False: the id leads nowhere.
    pub(crate) exists: bool,
    pub(crate) tenant: i64,
    pub(crate) currency: i16,
    pub(crate) status: i16,
    pub(crate) debit_cap: Option<i64>,
    pub(crate) credit_cap: Option<i64>,
}

/// Opens accounts behind the back of every slice; gives their numbers in order.
pub(crate) async fn open_ledger_accounts(owner: &PgPool, accounts: &[LedgerAccount]) -> Vec<i64> {
    let mut ids = Vec::new();
    for account in accounts {
        if !account.exists {
            ids.push(i64::MAX);
            continue;
        }
        let open =
            "INSERT INTO ledger.account (public_id, tenant_id, currency_id, class, owner_id, created_at)
                    VALUES (gen_random_uuid(), $1, $2, 2, gen_random_uuid(), now()) RETURNING account_id";
        let id: i64 = sqlx::query_scalar(open)
            .bind(account.tenant)
            .bind(account.currency)
            .fetch_one(owner)
            .await
            .unwrap();
        let balance =
            "INSERT INTO ledger.balance (account_id, tenant_id, currency_id, status, debit_cap, credit_cap)
                       VALUES ($1, $2, $3, $4, $5, $6)";
        sqlx::query(balance)
            .bind(id)
            .bind(account.tenant)
            .bind(account.currency)
            .bind(account.status)
            .bind(account.debit_cap)
            .bind(account.credit_cap)
            .execute(owner)
            .await
            .unwrap();
        ids.push(id);
    }
    ids
}

/// Calls the posting function with all its arguments.
pub(crate) async fn try_post_batch(
    owner: &PgPool,
    batch: &[Entry],
    entry_ids: &[Uuid],
    accounts: &[i64],
    holds: &[Uuid],
) -> sqlx::Result<Vec<i16>> {
    let index = |place: usize| i32::try_from(place).unwrap();
    let legs: Vec<(i32, &Leg)> = (1..)
        .zip(batch)
        .flat_map(|(group, entry)| entry.legs.iter().map(move |leg| (group, leg)))
        .collect();
    sqlx::query_scalar(
        "SELECT ledger.post_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    )
    .bind(entry_ids)
    .bind(batch.iter().map(|entry| entry.tenant).collect::<Vec<_>>())
    .bind(vec![90_i16; batch.len()])
    .bind(vec![chrono::DateTime::UNIX_EPOCH; batch.len()])
    .bind(vec![None::<String>; batch.len()])
    .bind(accounts)
    .bind(holds)
    .bind(legs.iter().map(|(group, _)| *group).collect::<Vec<i32>>())
    .bind(
        legs.iter()
            .map(|(_, leg)| index(leg.debit + 1))
            .collect::<Vec<_>>(),
    )
    .bind(
        legs.iter()
            .map(|(_, leg)| index(leg.credit + 1))
            .collect::<Vec<_>>(),
    )
    .bind(legs.iter().map(|(_, leg)| leg.amount).collect::<Vec<_>>())
    .bind(legs.iter().map(|(_, leg)| leg.pending).collect::<Vec<_>>())
    .bind(legs.iter().map(|(_, leg)| index(leg.hold)).collect::<Vec<_>>())
    .bind(legs.iter().map(|(_, leg)| leg.force).collect::<Vec<_>>())
    .fetch_one(owner)
    .await
}

/// [`try_post_batch`] of a batch that is well formed.
pub(crate) async fn post_batch(
    owner: &PgPool,
    batch: &[Entry],
    entry_ids: &[Uuid],
    accounts: &[i64],
    holds: &[Uuid],
) -> Vec<i16> {
    try_post_batch(owner, batch, entry_ids, accounts, holds)
        .await
        .unwrap()
}

/// dr, cr, pending dr, pending cr, forced of each account; zeros for one that does not exist.
pub(crate) async fn counters(owner: &PgPool, accounts: &[i64]) -> Vec<[i64; 5]> {
    let sql = "SELECT coalesce(dr_posted, 0), coalesce(cr_posted, 0), coalesce(dr_pending, 0), coalesce(cr_pending, 0), coalesce(forced, 0)
                 FROM unnest($1::bigint[]) WITH ORDINALITY u(id, o) LEFT JOIN ledger.balance b ON b.account_id = u.id ORDER BY u.o";
    let rows = sqlx::query(sql).bind(accounts).fetch_all(owner).await.unwrap();
    rows.iter()
        .map(|row| std::array::from_fn(|column| row.get(column)))
        .collect()
}
