//! Queries of the signing-key slice. Each function is one statement; callers own the transaction.
//!
//! Every change is a compare-and-set on the state, under the lock of the ring's row, with times the database gave.

use chrono::{DateTime, Utc};
use keyring::{Bounds, KeyState, RingName};
use serde::Serialize;
use sqlx::PgConnection;

use super::vault::SealedKey;
use crate::extract::Actor;

/// A key as operators see it. A time is null until the key gets there.
#[derive(Debug, Clone, Serialize)]
pub(super) struct KeyRow {
    kid: String,
    algorithm: String,
    state: String,
    kek_version: i32,
    /// Whether the sealed private part still exists.
    has_private_part: bool,
    created_at: DateTime<Utc>,
    published_at: Option<DateTime<Utc>>,
    /// Whoever holds this `seq` of the ring or a later one knows it.
    published_seq: Option<i64>,
    activated_at: Option<DateTime<Utc>>,
    retiring_at: Option<DateTime<Utc>>,
    /// Tokens issued later are not this key's.
    sign_until: Option<DateTime<Utc>>,
    /// After this the key verifies nothing.
    verify_until: Option<DateTime<Utc>>,
    /// When it was called back from retiring.
    reinstated_at: Option<DateTime<Utc>>,
    retired_at: Option<DateTime<Utc>>,
    aborted_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
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

/// The key that signs next.
#[derive(Debug, Clone)]
pub(super) struct Successor {
    pub(super) kid: String,
    /// Whoever holds this `seq` of the ring knows it.
    pub(super) published_seq: i64,
    /// It was called back, and no standby is used up.
    pub(super) is_reinstated: bool,
    /// Seconds, rounded up, until it has been published long enough.
    pub(super) wait_s: i64,
}

/// Where a key stands.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) state: String,
    pub(super) is_called_back: bool,
}

/// Something that was done to a key.
#[derive(Debug, Clone, Serialize)]
pub(super) struct EventRow {
    /// When, by the database's clock.
    at: DateTime<Utc>,
    /// `control-plane`, `operator` or `operator:<name>`.
    actor: String,
    /// Like `signing_key.activated`.
    action: String,
    kid: String,
    /// Why, in the words of whoever did it.
    reason: Option<String>,
    request_id: Option<String>,
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

/// Keeps a new key, which nobody is told of yet.
pub(super) async fn insert_generated(
    conn: &mut PgConnection,
    ring: RingName,
    key: &SealedKey,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO control.signing_key
               (kid, ring, algorithm, state, public_key, sealed_private_key, kek_version, created_at, wrapped_data_key)
        VALUES ($1, $2, $3, 'generated', $4, $5, $6, $7, $8)
        "#,
        key.kid,
        ring.as_str(),
        key.algorithm,
        key.public_key,
        key.sealed_private_key,
        key.kek_version,
        now,
        key.wrapped_data_key,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Generated → published: verifiers know it once they hold `seq` of the ring. Says whether it happened.
pub(super) async fn publish(
    conn: &mut PgConnection,
    kid: &str,
    seq: i64,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE control.signing_key SET state = 'published', published_at = $2, published_seq = $3
          WHERE kid = $1 AND state = 'generated'",
        kid,
        now,
        seq,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The key that signs next: one that was called back, before the standby.
pub(super) async fn successor(
    conn: &mut PgConnection,
    ring: RingName,
    now: DateTime<Utc>,
    dwell_s: i64,
) -> sqlx::Result<Option<Successor>> {
    sqlx::query_as!(
        Successor,
        r#"
        SELECT kid, published_seq AS "published_seq!", reinstated_at IS NOT NULL AS "is_reinstated!",
               greatest(0, ceil(extract(epoch FROM published_at + $2::bigint * interval '1 second' - $3)))::bigint AS "wait_s!"
          FROM control.signing_key
         WHERE ring = $1 AND state = 'published'
         ORDER BY reinstated_at NULLS LAST
         LIMIT 1
        "#,
        ring.as_str(),
        dwell_s,
        now,
    )
    .fetch_optional(conn)
    .await
}

/// The live gateways that do not hold this `seq` of a ring or a later one (guard G2). Nobody is waited for where gateways do
/// not verify with the ring.
pub(super) async fn gateways_behind(
    conn: &mut PgConnection,
    ring: RingName,
    seq: i64,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"SELECT name AS "name!" FROM control.gateways_behind($1, $2) AS behind (name)"#,
        ring.as_str(),
        seq,
    )
    .fetch_all(conn)
    .await
}

/// Active → retiring, if this successor may take over (guards G2 and G3). Gives the kid.
pub(super) async fn retire_active(
    conn: &mut PgConnection,
    ring: RingName,
    successor: &str,
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
           AND EXISTS (SELECT FROM control.signing_key next
                        WHERE next.kid = $6 AND next.ring = $1 AND next.state = 'published'
                          AND next.published_at + $5::bigint * interval '1 second' <= $2
                          AND NOT EXISTS (SELECT FROM control.gateways_behind(next.ring, next.published_seq)))
        RETURNING kid
        "#,
        ring.as_str(),
        now,
        bounds.sign_window_s(),
        bounds.verify_window_s(),
        i64::from(bounds.standby_dwell_s),
        successor,
    )
    .fetch_optional(conn)
    .await
}

/// Published → active, if it has been published for `dwell_s` and no live gateway is behind (guard G2). Says whether it
/// happened.
pub(super) async fn activate(
    conn: &mut PgConnection,
    kid: &str,
    now: DateTime<Utc>,
    dwell_s: i64,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        r#"
        UPDATE control.signing_key
           SET state = 'active', activated_at = $2
         WHERE kid = $1 AND state = 'published' AND published_at + $3::bigint * interval '1 second' <= $2
           AND NOT EXISTS (SELECT FROM control.gateways_behind(ring, published_seq))
        "#,
        kid,
        now,
        dwell_s,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Published → active without waiting for verifiers: the first key of a ring, and in an emergency. Says whether it
/// happened.
pub(super) async fn activate_at_once(
    conn: &mut PgConnection,
    kid: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE control.signing_key SET state = 'active', activated_at = $2 WHERE kid = $1 AND state = 'published'",
        kid,
        now,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Retiring → published: called back within the rollback window, while it verifies and no other key is. Verifiers know it
/// once they hold `seq`. Says whether it happened.
pub(super) async fn reinstate(
    conn: &mut PgConnection,
    ring: RingName,
    kid: &str,
    seq: i64,
    now: DateTime<Utc>,
    rollback_window_s: i64,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        r#"
        UPDATE control.signing_key
           SET state = 'published', published_at = $3, published_seq = $4, reinstated_at = $3, activated_at = NULL,
               retiring_at = NULL, sign_until = NULL, verify_until = NULL
         WHERE ring = $1 AND kid = $2 AND state = 'retiring' AND sealed_private_key IS NOT NULL
           AND retiring_at + $5::bigint * interval '1 second' > $3 AND verify_until > $3
           AND NOT EXISTS (SELECT FROM control.signing_key other
                            WHERE other.ring = $1 AND other.state = 'published' AND other.reinstated_at IS NOT NULL)
        "#,
        ring.as_str(),
        kid,
        now,
        seq,
        rollback_window_s,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// To revoked, from this state, private part destroyed. Says whether it happened.
pub(super) async fn revoke(
    conn: &mut PgConnection,
    kid: &str,
    from: KeyState,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE control.signing_key
            SET state = 'revoked', revoked_at = $3, sealed_private_key = NULL, wrapped_data_key = NULL
          WHERE kid = $1 AND state = $2 AND state IN ('generated', 'published', 'active', 'retiring')",
        kid,
        from.as_str(),
        now,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// To aborted, from this state, private part destroyed; never a key that was called back, for it has signed. Says whether
/// it happened.
pub(super) async fn abort(
    conn: &mut PgConnection,
    kid: &str,
    from: KeyState,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE control.signing_key
            SET state = 'aborted', aborted_at = $3, sealed_private_key = NULL, wrapped_data_key = NULL
          WHERE kid = $1 AND state = $2 AND state IN ('generated', 'published') AND reinstated_at IS NULL",
        kid,
        from.as_str(),
        now,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The state of a key of a ring, and whether it is published because it was called back.
pub(super) async fn standing(
    conn: &mut PgConnection,
    ring: RingName,
    kid: &str,
) -> sqlx::Result<Option<Standing>> {
    sqlx::query_as!(
        Standing,
        r#"
        SELECT state, state = 'published' AND reinstated_at IS NOT NULL AS "is_called_back!"
          FROM control.signing_key WHERE ring = $1 AND kid = $2
        "#,
        ring.as_str(),
        kid,
    )
    .fetch_optional(conn)
    .await
}

/// Whether the ring should turn by itself: a key was called back, or the active one has signed for `every_s`.
pub(super) async fn is_due(conn: &mut PgConnection, ring: RingName, every_s: i64) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"
        SELECT EXISTS (SELECT FROM control.signing_key
                        WHERE ring = $1
                          AND ((state = 'published' AND reinstated_at IS NOT NULL)
                               OR (state = 'active'
                                   AND activated_at + $2::bigint * interval '1 second' <= clock_timestamp()))) AS "is_due!"
        "#,
        ring.as_str(),
        every_s,
    )
    .fetch_one(conn)
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
           SET state = 'retired', retired_at = $2, sealed_private_key = NULL, wrapped_data_key = NULL
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
           SET sealed_private_key = NULL, wrapped_data_key = NULL
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

/// Writes down who did what to which key, and why if they said so.
pub(super) async fn record(
    conn: &mut PgConnection,
    actor: &Actor,
    action: &str,
    ring: RingName,
    kid: &str,
    reason: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO control.audit_event (actor, action, ring, kid, request_id, reason) VALUES ($1, $2, $3, $4, $5, $6)",
        actor.name(),
        action,
        ring.as_str(),
        kid,
        actor.request_id(),
        reason,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Every key of a ring that has its sealed private part still, oldest first.
pub(super) async fn sealed_keys(conn: &mut PgConnection, ring: RingName) -> sqlx::Result<Vec<SealedKey>> {
    sealed(conn, ring, None, None).await
}

/// The key of a ring that is active, or its standby, with its sealed private part.
pub(super) async fn sealed_key(
    conn: &mut PgConnection,
    ring: RingName,
    state: KeyState,
) -> sqlx::Result<Option<SealedKey>> {
    Ok(sealed(conn, ring, Some(state), None).await?.pop())
}

/// A key of a ring with its sealed private part, if it has one still.
pub(super) async fn sealed_part(
    conn: &mut PgConnection,
    ring: RingName,
    kid: &str,
) -> sqlx::Result<Option<SealedKey>> {
    Ok(sealed(conn, ring, None, Some(kid)).await?.pop())
}

/// The keys of a ring that have their sealed private part still; of one state, where a key that was called back is none of
/// the published, or of one name.
async fn sealed(
    conn: &mut PgConnection,
    ring: RingName,
    state: Option<KeyState>,
    kid: Option<&str>,
) -> sqlx::Result<Vec<SealedKey>> {
    sqlx::query_as!(
        SealedKey,
        r#"
        SELECT kid, algorithm, public_key, sealed_private_key AS "sealed_private_key!", wrapped_data_key, kek_version
          FROM control.signing_key
         WHERE ring = $1 AND sealed_private_key IS NOT NULL
           AND ($2::text IS NULL OR (state = $2 AND (state <> 'published' OR reinstated_at IS NULL)))
           AND ($3::text IS NULL OR kid = $3)
         ORDER BY created_at, kid
        "#,
        ring.as_str(),
        state.map(KeyState::as_str),
        kid,
    )
    .fetch_all(conn)
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
               published_at, published_seq, activated_at, retiring_at, sign_until, verify_until, reinstated_at, retired_at,
               aborted_at, revoked_at
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

/// What was done to a ring and its keys, or to the versions of the key-encryption key (`kek`), newest first.
pub(super) async fn history(conn: &mut PgConnection, ring: &str, limit: i64) -> sqlx::Result<Vec<EventRow>> {
    sqlx::query_as!(
        EventRow,
        r#"
        SELECT created_at AS at, actor, action, kid, request_id, reason
          FROM control.audit_event
         WHERE ring = $1
         ORDER BY audit_event_id DESC
         LIMIT $2
        "#,
        ring,
        limit,
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

/// How many live gateways do not know the key that signs next.
pub(super) async fn behind(conn: &mut PgConnection, ring: RingName) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"
        SELECT count(DISTINCT behind.name) AS "behind!"
          FROM control.signing_key, control.gateways_behind(signing_key.ring, published_seq) AS behind (name)
         WHERE ring = $1 AND state = 'published'
        "#,
        ring.as_str(),
    )
    .fetch_one(conn)
    .await
}
