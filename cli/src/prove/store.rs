//! What the claims ask of the database, and the damage that only its superuser can do.

use std::fmt;

use chrono::{DateTime, Utc};
use keyring::{KeyEncryptionKeys, SealedFor, SealedPrivateKey};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

/// A table that row-level security guards.
pub(super) struct Table {
    schema: String,
    name: String,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// Whose rows are looked for.
pub(super) struct Owner {
    pub(super) tenant_id: i64,
    pub(super) user_id: Uuid,
}

/// Connections of the core.
pub(super) struct Logins {
    pub(super) before: i64,
    pub(super) after: i64,
}

/// How many accounts a customer sees.
pub(super) struct VisibleAccounts {
    pub(super) all: i64,
    pub(super) of_others: i64,
}

/// Every table of the core and the ledger that the core's role may read.
pub(super) async fn tables(conn: &mut PgConnection) -> sqlx::Result<Vec<Table>> {
    sqlx::query_as!(
        Table,
        r#"SELECT n.nspname AS "schema!", c.relname AS "name!"
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname IN ('core', 'ledger') AND c.relkind IN ('r', 'p', 'v')
              AND (c.relrowsecurity OR c.relkind = 'v')
              AND has_any_column_privilege('portico_core', c.oid, 'SELECT')
            ORDER BY 1, 2"#
    )
    .fetch_all(conn)
    .await
}

/// The ids behind an e-mail address.
pub(super) async fn owner_of(conn: &mut PgConnection, email: &str) -> sqlx::Result<Owner> {
    sqlx::query_as!(
        Owner,
        r#"SELECT tenant_id, user_id FROM core.user WHERE email = $1"#,
        email
    )
    .fetch_one(conn)
    .await
}

/// How many rows of a table the connection's role sees with no tenant set.
pub(super) async fn visible_rows(conn: &mut PgConnection, table: &Table) -> sqlx::Result<i64> {
    // The name comes from the catalogue; no parameter can stand for a table.
    let count = AssertSqlSafe(format!(
        "SELECT count(*) FROM {}.{}",
        quoted(&table.schema),
        quoted(&table.name)
    ));
    #[expect(clippy::disallowed_methods, reason = "the table is known at run time only")]
    sqlx::query_scalar(count).fetch_one(conn).await
}

/// How many accounts the connection's role sees as this customer, and how many of them are not the customer's.
pub(super) async fn visible_accounts(
    conn: &mut PgConnection,
    owner: &Owner,
) -> sqlx::Result<VisibleAccounts> {
    sqlx::query!(
        r#"SELECT set_config('app.tenant_id', $1, false) AS tenant, set_config('app.user_id', $2, false) AS usr"#,
        owner.tenant_id.to_string(),
        owner.user_id.to_string(),
    )
    .fetch_one(&mut *conn)
    .await?;
    sqlx::query_as!(
        VisibleAccounts,
        r#"SELECT count(*) AS "all!", count(*) FILTER (WHERE owner_id IS DISTINCT FROM $1) AS "of_others!"
             FROM ledger.account"#,
        owner.user_id,
    )
    .fetch_one(conn)
    .await
}

/// Damage: every table shows every row to whoever may read it.
pub(super) async fn disable_row_level_security(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!(
        r#"DO $$
           DECLARE t regclass;
           BEGIN
               FOR t IN SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                         WHERE n.nspname IN ('core', 'ledger') AND c.relrowsecurity LOOP
                   EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', t);
               END LOOP;
           END $$"#
    )
    .execute(conn)
    .await
    .map(drop)
}

/// From here on to the end of the transaction, the connection has the core's rights and no more.
pub(super) async fn become_core(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("SET LOCAL ROLE portico_core")
        .execute(conn)
        .await
        .map(drop)
}

/// The number of the key set in force.
pub(super) async fn keyset_sequence(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!("SELECT seq FROM control.key_ring WHERE ring = 'access'")
        .fetch_one(conn)
        .await
}

/// Damage: a key that should still verify is retired at once.
pub(super) async fn retire_retiring_keys(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!(
        r#"WITH retired AS (
               UPDATE control.signing_key
                  SET state = 'retired', retired_at = clock_timestamp(), sealed_private_key = NULL,
                      wrapped_data_key = NULL
                WHERE state = 'retiring' RETURNING ring)
           UPDATE control.key_ring SET seq = seq + 1, updated_at = clock_timestamp()
            WHERE ring IN (SELECT ring FROM retired)"#
    )
    .execute(conn)
    .await
    .map(drop)
}

/// A private key as it lies in the database.
pub(super) struct SealedKey {
    kid: String,
    ring: String,
    algorithm: String,
    kek_version: i32,
    wrapped_data_key: Option<Vec<u8>>,
    ciphertext: Vec<u8>,
}

impl SealedKey {
    /// Whether these keys open it, whatever version the row names: a thief tries them all.
    pub(super) fn opens_with(&self, keks: &KeyEncryptionKeys) -> bool {
        let Ok(algorithm) = self.algorithm.parse() else {
            return false;
        };
        let row = SealedFor {
            ring: &self.ring,
            kid: &self.kid,
            algorithm,
        };
        keks.versions().chain([self.kek_version]).any(|kek_version| {
            let sealed = SealedPrivateKey {
                kek_version,
                wrapped_data_key: self.wrapped_data_key.clone(),
                ciphertext: self.ciphertext.clone(),
            };
            keks.open(row, &sealed).is_ok()
        })
    }
}

/// Every private key.
pub(super) async fn sealed_keys(conn: &mut PgConnection) -> sqlx::Result<Vec<SealedKey>> {
    sqlx::query_as!(
        SealedKey,
        r#"
        SELECT kid, ring, algorithm, kek_version, wrapped_data_key, sealed_private_key AS "ciphertext!"
          FROM control.signing_key WHERE sealed_private_key IS NOT NULL
        "#
    )
    .fetch_all(conn)
    .await
}

/// Gives the core's role another password. When that was.
pub(super) async fn set_core_password(
    conn: &mut PgConnection,
    password: &str,
) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query!(
        "SELECT set_config('prove.password', $1, false) AS password",
        password
    )
    .fetch_one(&mut *conn)
    .await?;
    sqlx::query!(
        r#"DO $$ BEGIN
               EXECUTE format('ALTER ROLE portico_core PASSWORD %L', current_setting('prove.password'));
           END $$"#
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#)
        .fetch_one(conn)
        .await
}

/// Ends connections of the core from before a moment, each after it has rested for so long.
pub(super) async fn end_resting_logins(
    conn: &mut PgConnection,
    before: DateTime<Utc>,
    rest_ms: i32,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"SELECT pg_terminate_backend(pid) AS ended FROM pg_stat_activity
            WHERE usename = 'portico_core' AND backend_start < $1 AND state = 'idle'
              AND state_change < clock_timestamp() - $2::int * interval '1 millisecond'"#,
        before,
        rest_ms,
    )
    .fetch_all(conn)
    .await
    .map(drop)
}

/// Connections of the core from before a moment and from after it.
pub(super) async fn core_logins(conn: &mut PgConnection, moment: DateTime<Utc>) -> sqlx::Result<Logins> {
    sqlx::query_as!(
        Logins,
        r#"SELECT count(*) FILTER (WHERE backend_start < $1) AS "before!",
                  count(*) FILTER (WHERE backend_start >= $1) AS "after!"
             FROM pg_stat_activity WHERE usename = 'portico_core'"#,
        moment
    )
    .fetch_one(conn)
    .await
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
