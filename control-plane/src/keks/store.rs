//! Queries of the versions of the key-encryption key. Each function is one statement; callers own the transaction.

use chrono::{DateTime, Utc};
use keyring::SealedPrivateKey;
use sqlx::PgConnection;

use crate::extract::Actor;

/// A version as the database knows it.
#[derive(Debug, Clone)]
pub(super) struct KekRow {
    pub(super) version: i32,
    pub(super) state: String,
    pub(super) check_value: Option<Vec<u8>>,
    pub(super) sealed_keys: i64,
    pub(super) created_at: DateTime<Utc>,
    pub(super) retiring_at: Option<DateTime<Utc>>,
    pub(super) retired_at: Option<DateTime<Utc>>,
}

/// A key that is to be rewrapped.
#[derive(Debug, Clone)]
pub(super) struct SealedRow {
    pub(super) kid: String,
    pub(super) ring: String,
    pub(super) algorithm: String,
    pub(super) kek_version: i32,
    pub(super) wrapped_data_key: Option<Vec<u8>>,
    pub(super) sealed_private_key: Vec<u8>,
}

/// Keys that were rewrapped, column by column.
#[derive(Debug, Default)]
pub(super) struct Rewrapped {
    kids: Vec<String>,
    wrapped: Vec<Option<Vec<u8>>>,
    sealed: Vec<Vec<u8>>,
}

impl Rewrapped {
    pub(super) fn push(&mut self, kid: String, key: SealedPrivateKey) {
        self.kids.push(kid);
        self.wrapped.push(key.wrapped_data_key);
        self.sealed.push(key.ciphertext);
    }
}

/// Every version, lowest first, with the number of private keys sealed under it.
pub(super) async fn all(conn: &mut PgConnection) -> sqlx::Result<Vec<KekRow>> {
    sqlx::query_as!(
        KekRow,
        r#"
        SELECT version, state, check_value, created_at, retiring_at, retired_at,
               (SELECT count(*) FROM control.signing_key
                 WHERE kek_version = version AND sealed_private_key IS NOT NULL) AS "sealed_keys!"
          FROM control.kek
         ORDER BY version
        "#
    )
    .fetch_all(conn)
    .await
}

/// The version that seals.
pub(crate) async fn active_version(conn: &mut PgConnection) -> sqlx::Result<Option<i32>> {
    sqlx::query_scalar!("SELECT version FROM control.kek WHERE state = 'active'")
        .fetch_optional(conn)
        .await
}

/// Lets a version seal, unless another one does.
pub(super) async fn begin(conn: &mut PgConnection, version: i32, check_value: &[u8]) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO control.kek (version, state, check_value) VALUES ($1, 'active', $2) ON CONFLICT DO NOTHING",
        version,
        check_value,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Keeps the check value of a version that has none.
pub(super) async fn keep_check_value(
    conn: &mut PgConnection,
    version: i32,
    check_value: &[u8],
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE control.kek SET check_value = $2 WHERE version = $1 AND check_value IS NULL",
        version,
        check_value,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Active → retiring. Says whether it happened.
pub(super) async fn begin_to_retire(conn: &mut PgConnection, version: i32) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE control.kek SET state = 'retiring', retiring_at = clock_timestamp() WHERE version = $1 AND state = 'active'",
        version,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Says which versions a process has, and for how many seconds that counts; 0 takes it back.
pub(super) async fn note_holder(
    conn: &mut PgConnection,
    name: &str,
    versions: &[i32],
    live_s: i32,
) -> sqlx::Result<()> {
    sqlx::query!(
        "SELECT control.note_kek_holder($1, $2, $3)",
        name,
        versions,
        live_s
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The processes that live and lack a version.
pub(crate) async fn lacking(conn: &mut PgConnection, version: i32) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        "SELECT name FROM control.kek_holder WHERE live_until > clock_timestamp() AND $1 <> ALL (versions) ORDER BY name",
        version
    )
    .fetch_all(conn)
    .await
}

/// Locks a version against whoever would seal under it, and gives its state.
pub(super) async fn lock(conn: &mut PgConnection, version: i32) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "SELECT state FROM control.kek WHERE version = $1 FOR UPDATE",
        version
    )
    .fetch_optional(conn)
    .await
}

/// Retiring → retired; the database refuses while a private key is sealed under it.
pub(super) async fn retire(conn: &mut PgConnection, version: i32) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE control.kek SET state = 'retired', retired_at = clock_timestamp() WHERE version = $1 AND state = 'retiring'",
        version,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How many private keys are sealed under a version.
pub(super) async fn sealed_under(conn: &mut PgConnection, version: i32) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "sealed!" FROM control.signing_key WHERE kek_version = $1 AND sealed_private_key IS NOT NULL"#,
        version,
    )
    .fetch_one(conn)
    .await
}

/// How many private keys are sealed under older versions, or without a data key.
pub(super) async fn sealed_under_older(conn: &mut PgConnection, version: i32) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "sealed!" FROM control.signing_key
         WHERE sealed_private_key IS NOT NULL
           AND (kek_version < $1 OR (kek_version = $1 AND wrapped_data_key IS NULL))
        "#,
        version,
    )
    .fetch_one(conn)
    .await
}

/// The next keys that are sealed under older versions, or without a data key.
pub(super) async fn next_sealed_under_older(
    conn: &mut PgConnection,
    version: i32,
    after: &str,
    limit: i64,
) -> sqlx::Result<Vec<SealedRow>> {
    sqlx::query_as!(
        SealedRow,
        r#"
        SELECT kid, ring, algorithm, kek_version, wrapped_data_key, sealed_private_key AS "sealed_private_key!"
          FROM control.signing_key
         WHERE sealed_private_key IS NOT NULL AND kid > $2
           AND (kek_version < $1 OR (kek_version = $1 AND wrapped_data_key IS NULL))
         ORDER BY kid
         LIMIT $3
        "#,
        version,
        after,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// Locks every ring for the rest of the transaction, always in the same order. Whoever turns a ring has its lock before it takes
/// a key, one after the other; who takes keys of all rings at once must not hold one while it waits for another.
pub(super) async fn lock_rings(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("SELECT ring FROM control.key_ring ORDER BY ring FOR NO KEY UPDATE")
        .fetch_all(conn)
        .await?;
    Ok(())
}

/// Keeps rewrapped keys under the lock of the rings, but for those that another did meanwhile, and those whose private part was
/// destroyed; none when another version seals by now: whoever stood still must take nothing back to the one before. Gives the
/// number.
pub(super) async fn keep(conn: &mut PgConnection, version: i32, done: &Rewrapped) -> sqlx::Result<u64> {
    let kept = sqlx::query!(
        r#"
        UPDATE control.signing_key
           SET kek_version = $1, wrapped_data_key = done.wrapped, sealed_private_key = done.sealed
          FROM unnest($2::text[], $3::bytea[], $4::bytea[]) AS done (kid, wrapped, sealed)
         WHERE signing_key.kid = done.kid AND sealed_private_key IS NOT NULL
           AND (kek_version < $1 OR (kek_version = $1 AND wrapped_data_key IS NULL))
           AND EXISTS (SELECT FROM control.kek WHERE version = $1 AND state = 'active')
        "#,
        version,
        &done.kids,
        &done.wrapped as &[Option<Vec<u8>>],
        &done.sealed,
    )
    .execute(conn)
    .await?;
    Ok(kept.rows_affected())
}

/// Writes down who did what to which version.
pub(super) async fn record(
    conn: &mut PgConnection,
    actor: &Actor,
    action: &str,
    version: i32,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO control.audit_event (actor, action, ring, kid, request_id) VALUES ($1, $2, 'kek', $3, $4)",
        actor.name(),
        action,
        version.to_string(),
        actor.request_id(),
    )
    .execute(conn)
    .await?;
    Ok(())
}
