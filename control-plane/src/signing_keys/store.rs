//! Queries of the signing-key slice. Each function is one statement; callers own the transaction.
//!
//! Every change is a compare-and-set on the state, under the lock of the ring's row, with times the database gave.

use chrono::{DateTime, Utc};
use keyring::{Bounds, RingName};
use sqlx::PgConnection;

use super::vault::SealedKey;
use crate::extract::Actor;

/// A key as operators see it.
#[derive(Debug, Clone)]
pub(super) struct KeyRow {
    pub(super) kid: String,
    pub(super) algorithm: String,
    pub(super) state: String,
    pub(super) kek_version: i32,
    pub(super) has_private_part: bool,
    pub(super) created_at: DateTime<Utc>,
    pub(super) published_at: Option<DateTime<Utc>>,
    pub(super) activated_at: Option<DateTime<Utc>>,
    pub(super) retiring_at: Option<DateTime<Utc>>,
    pub(super) sign_until: Option<DateTime<Utc>>,
    pub(super) verify_until: Option<DateTime<Utc>>,
    pub(super) retired_at: Option<DateTime<Utc>>,
    pub(super) revoked_at: Option<DateTime<Utc>>,
}

/// A key as verifiers need it; times in Unix seconds.
#[derive(Debug, Clone)]
pub(super) struct PublishedRow {
    pub(super) seq: i64,
    pub(super) kid: Option<String>,
    pub(super) algorithm: Option<String>,
    pub(super) state: Option<String>,
    pub(super) public_key: Option<Vec<u8>>,
    pub(super) sign_until: Option<i64>,
    pub(super) verify_until: Option<i64>,
}

/// What metrics show of a ring.
#[derive(Debug, Clone)]
pub(super) struct RingFigures {
    pub(super) state: String,
    pub(super) keys: i64,
    /// Age of the youngest key in this state since it was activated, seconds.
    pub(super) active_age_s: Option<i64>,
}

/// Makes the row of a ring, if there is none. Waits for another transaction that is doing so.
pub(super) async fn create_ring(conn: &mut PgConnection, ring: RingName) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO control.key_ring (ring) VALUES ($1) ON CONFLICT (ring) DO NOTHING",
        ring.as_str()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Locks a ring for the rest of the transaction: one transition at a time.
pub(super) async fn lock_ring(conn: &mut PgConnection, ring: RingName) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        "SELECT seq FROM control.key_ring WHERE ring = $1 FOR UPDATE",
        ring.as_str()
    )
    .fetch_optional(conn)
    .await
}

/// The database's time. Asked for after the lock: a time read in the locking statement is that of before the wait.
pub(super) async fn database_time(conn: &mut PgConnection) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#)
        .fetch_one(conn)
        .await
}

/// Publishes a new standby, which verifiers know once they hold `seq` of the ring.
pub(super) async fn publish(
    conn: &mut PgConnection,
    ring: RingName,
    key: &SealedKey,
    seq: i64,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO control.signing_key
               (kid, ring, algorithm, state, public_key, sealed_private_key, kek_version, created_at, published_at,
                published_seq)
        VALUES ($1, $2, $3, 'published', $4, $5, $6, $7, $7, $8)
        "#,
        key.kid,
        ring.as_str(),
        key.algorithm,
        key.public_key,
        key.sealed_private_key,
        key.kek_version,
        now,
        seq,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Active → retiring, if the standby may take over (guards G2 and G3). Gives the kid.
pub(super) async fn retire_active(
    conn: &mut PgConnection,
    ring: RingName,
    now: DateTime<Utc>,
    bounds: &Bounds,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        r#"
        UPDATE control.signing_key
           SET state = 'retiring', retiring_at = $2,
               sign_until = $2 + $3::bigint * interval '1 second',
               verify_until = $2 + $4::bigint * interval '1 second'
         WHERE ring = $1 AND state = 'active'
           AND EXISTS (SELECT FROM control.signing_key standby
                        WHERE standby.ring = $1 AND standby.state = 'published'
                          AND standby.published_at + $5::bigint * interval '1 second' <= $2)
        RETURNING kid
        "#,
        ring.as_str(),
        now,
        bounds.sign_window_s(),
        bounds.verify_window_s(),
        i64::from(bounds.standby_dwell_s),
    )
    .fetch_optional(conn)
    .await
}

/// Published → active, if it has been published for `dwell_s` (guard G2). Gives the kid.
pub(super) async fn activate_standby(
    conn: &mut PgConnection,
    ring: RingName,
    now: DateTime<Utc>,
    dwell_s: i64,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        r#"
        UPDATE control.signing_key
           SET state = 'active', activated_at = $2
         WHERE ring = $1 AND state = 'published' AND published_at + $3::bigint * interval '1 second' <= $2
        RETURNING kid
        "#,
        ring.as_str(),
        now,
        dwell_s,
    )
    .fetch_optional(conn)
    .await
}

/// Seconds from `now`, rounded up, until the standby may be activated; 0 when it may, nothing when there is none.
pub(super) async fn standby_wait_s(
    conn: &mut PgConnection,
    ring: RingName,
    now: DateTime<Utc>,
    dwell_s: i64,
) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        r#"
        SELECT greatest(0, ceil(extract(epoch FROM published_at + $2::bigint * interval '1 second' - $3)))::bigint AS "wait_s!"
          FROM control.signing_key
         WHERE ring = $1 AND state = 'published'
        "#,
        ring.as_str(),
        dwell_s,
        now,
    )
    .fetch_optional(conn)
    .await
}

/// Retiring → retired for every key past its `verify_until`, private part destroyed (guard G4). Gives the kids.
pub(super) async fn retire_due(
    conn: &mut PgConnection,
    ring: RingName,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"
        UPDATE control.signing_key
           SET state = 'retired', retired_at = $2, sealed_private_key = NULL
         WHERE ring = $1 AND state = 'retiring' AND verify_until <= $2
        RETURNING kid
        "#,
        ring.as_str(),
        now,
    )
    .fetch_all(conn)
    .await
}

/// Destroys the private part of every retiring key past the rollback window (INV-6). Gives the kids.
pub(super) async fn destroy_due(
    conn: &mut PgConnection,
    ring: RingName,
    now: DateTime<Utc>,
    rollback_window_s: i64,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"
        UPDATE control.signing_key
           SET sealed_private_key = NULL
         WHERE ring = $1 AND state = 'retiring' AND sealed_private_key IS NOT NULL
           AND retiring_at + $3::bigint * interval '1 second' <= $2
        RETURNING kid
        "#,
        ring.as_str(),
        now,
        rollback_window_s,
    )
    .fetch_all(conn)
    .await
}

/// Tells verifiers, at commit, that the ring has changed. Gives the new `seq`.
pub(super) async fn raise_seq(
    conn: &mut PgConnection,
    ring: RingName,
    now: DateTime<Utc>,
) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        "UPDATE control.key_ring SET seq = seq + 1, updated_at = $2 WHERE ring = $1 RETURNING seq",
        ring.as_str(),
        now,
    )
    .fetch_one(conn)
    .await
}

/// Writes down who did what to which key.
pub(super) async fn record(
    conn: &mut PgConnection,
    actor: &Actor,
    action: &str,
    ring: RingName,
    kid: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO control.audit_event (actor, action, ring, kid, request_id) VALUES ($1, $2, $3, $4, $5)",
        actor.name(),
        action,
        ring.as_str(),
        kid,
        actor.request_id(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The key of a ring in a state that only one key can have, with its sealed private part.
pub(super) async fn sealed_key(
    conn: &mut PgConnection,
    ring: RingName,
    state: &str,
) -> sqlx::Result<Option<SealedKey>> {
    sqlx::query_as!(
        SealedKey,
        r#"
        SELECT kid, algorithm, public_key, sealed_private_key AS "sealed_private_key!", kek_version
          FROM control.signing_key
         WHERE ring = $1 AND state = $2 AND sealed_private_key IS NOT NULL
        "#,
        ring.as_str(),
        state,
    )
    .fetch_optional(conn)
    .await
}

/// The `seq` of a ring, or nothing before it is made.
pub(super) async fn seq(conn: &mut PgConnection, ring: RingName) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!("SELECT seq FROM control.key_ring WHERE ring = $1", ring.as_str())
        .fetch_optional(conn)
        .await
}

/// The ring's `seq` and every key that verifiers must know, revoked ones included: one statement, hence one snapshot. A
/// fraction of a second is rounded up, never a token's time cut off.
pub(super) async fn published_keys(
    conn: &mut PgConnection,
    ring: RingName,
) -> sqlx::Result<Vec<PublishedRow>> {
    sqlx::query_as!(
        PublishedRow,
        r#"
        SELECT key_ring.seq, kid AS "kid?", algorithm AS "algorithm?", state AS "state?", public_key AS "public_key?",
               ceil(extract(epoch FROM sign_until))::bigint AS "sign_until?",
               ceil(extract(epoch FROM verify_until))::bigint AS "verify_until?"
          FROM control.key_ring
          LEFT JOIN control.signing_key
            ON signing_key.ring = key_ring.ring AND state IN ('published', 'active', 'retiring', 'revoked')
         WHERE key_ring.ring = $1
         ORDER BY signing_key.created_at, kid
        "#,
        ring.as_str(),
    )
    .fetch_all(conn)
    .await
}

/// The newest 200 keys of a ring, newest first.
pub(super) async fn list(conn: &mut PgConnection, ring: RingName) -> sqlx::Result<Vec<KeyRow>> {
    sqlx::query_as!(
        KeyRow,
        r#"
        SELECT kid, algorithm, state, kek_version, sealed_private_key IS NOT NULL AS "has_private_part!", created_at,
               published_at, activated_at, retiring_at, sign_until, verify_until, retired_at, revoked_at
          FROM control.signing_key
         WHERE ring = $1
         ORDER BY created_at DESC, kid
         LIMIT 200
        "#,
        ring.as_str(),
    )
    .fetch_all(conn)
    .await
}

/// How many keys are in each state, and how long the active one has been.
pub(super) async fn figures(conn: &mut PgConnection, ring: RingName) -> sqlx::Result<Vec<RingFigures>> {
    sqlx::query_as!(
        RingFigures,
        r#"
        SELECT state, count(*) AS "keys!",
               floor(extract(epoch FROM clock_timestamp() - max(activated_at)))::bigint AS active_age_s
          FROM control.signing_key
         WHERE ring = $1
         GROUP BY state
        "#,
        ring.as_str(),
    )
    .fetch_all(conn)
    .await
}
