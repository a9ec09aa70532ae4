//! Queries of the gate. Each function is one statement; callers own the transaction.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// A counter as it is kept.
pub(super) struct Row {
    pub(super) key: Vec<u8>,
    /// JSON; None when nothing is kept under this key.
    pub(super) state: Option<String>,
    /// The time of the database, milliseconds since 1970.
    pub(super) now_ms: i64,
}

/// Reads counters: one row for each key.
pub(super) async fn peek(db: impl PgExecutor<'_>, keys: &[Vec<u8>]) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"SELECT key AS "key!", state, now_ms AS "now_ms!" FROM core.gate_peek($1)"#,
        keys
    )
    .fetch_all(db)
    .await
}

/// Reads counters that are about to change, and locks them until the transaction ends.
pub(super) async fn hold(
    conn: &mut PgConnection,
    keys: &[Vec<u8>],
    kinds: &[String],
) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"SELECT key AS "key!", state, now_ms AS "now_ms!" FROM core.gate_hold($1, $2)"#,
        keys,
        kinds
    )
    .fetch_all(conn)
    .await
}

/// Writes counters that are held; one without a state is removed.
pub(super) async fn keep(
    conn: &mut PgConnection,
    keys: &[Vec<u8>],
    states: &[Option<String>],
    kept_s: &[i64],
) -> sqlx::Result<()> {
    sqlx::query!(
        "SELECT core.gate_keep($1, $2, $3)",
        keys,
        states as &[Option<String>],
        kept_s
    )
    .fetch_one(conn)
    .await
    .map(drop)
}

/// Removes what says nothing any more; how many counters and devices.
pub(super) async fn purge(db: impl PgExecutor<'_>, most: i32) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"SELECT core.purge_gate($1) AS "count!""#, most)
        .fetch_one(db)
        .await
}

/// Something happened to a name; false when nobody has it.
pub(super) async fn record(
    db: impl PgExecutor<'_>,
    email: Option<&str>,
    action: &str,
    outcome: &str,
    payload: serde_json::Value,
    request_id: &str,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT core.record_gate_event($1, $2, $3, $4, $5) AS "is_known!""#,
        email as _,
        action,
        outcome,
        payload,
        request_id
    )
    .fetch_one(db)
    .await
}

/// Tells gateways to let nobody of this network sign in for so many seconds; false when their list has no room.
pub(super) async fn block_sign_in(
    db: impl PgExecutor<'_>,
    network: &str,
    for_s: i64,
    request_id: &str,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT control.block_sign_in($1, $2, $3) AS "is_told!""#,
        network,
        for_s,
        request_id
    )
    .fetch_one(db)
    .await
}

/// Whether a device may still be trusted.
pub(super) async fn is_device_trusted(db: impl PgExecutor<'_>, device: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"SELECT core.is_device_trusted($1) AS "is_trusted!""#, device)
        .fetch_one(db)
        .await
}

/// A device that its owner signed in with.
pub(super) struct Signed<'a> {
    pub(super) user: Uuid,
    pub(super) device: Uuid,
    pub(super) description: &'a str,
    pub(super) for_s: u32,
    pub(super) most: u32,
}

/// Trusts a device from now on. Gives when that is, in seconds since 1970.
pub(super) async fn trust_device(
    db: impl PgExecutor<'_>,
    signed: &Signed<'_>,
    request_id: &str,
) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT core.trust_device($1, $2, $3, $4, $5, $6) AS "since!""#,
        signed.user,
        signed.device,
        signed.description,
        i64::from(signed.for_s),
        i64::from(signed.most),
        request_id
    )
    .fetch_one(db)
    .await
}

/// Whose word it is that a device is trusted no more.
pub(super) struct Distrust<'a> {
    pub(super) device: Uuid,
    /// Its owner with his session; None when it guessed too often.
    pub(super) owner: Option<(Uuid, Uuid)>,
    pub(super) outcome: &'a str,
}

/// Trusts a device no more; false when it was not trusted.
pub(super) async fn distrust_device(
    db: impl PgExecutor<'_>,
    distrust: &Distrust<'_>,
    request_id: &str,
) -> sqlx::Result<bool> {
    let (user, session) = distrust.owner.unzip();
    sqlx::query_scalar!(
        r#"SELECT core.distrust_device($1, $2, $3, $4, $5) AS "was_trusted!""#,
        distrust.device,
        user as _,
        session as _,
        distrust.outcome,
        request_id
    )
    .fetch_one(db)
    .await
}

/// Trusts no device of a user any more; how many that were.
pub(super) async fn distrust_devices(
    db: impl PgExecutor<'_>,
    user: Uuid,
    outcome: &str,
    request_id: &str,
) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT core.distrust_devices($1, $2, $3) AS "count!""#,
        user,
        outcome,
        request_id
    )
    .fetch_one(db)
    .await
}

/// Who a mail to unlock went to.
pub(super) struct Unlocked {
    pub(super) user_id: Uuid,
    pub(super) email: String,
}

/// Uses the ticket of a mail up; None when it is not good.
pub(super) async fn use_unlock_ticket(
    db: impl PgExecutor<'_>,
    token_hash: &[u8],
) -> sqlx::Result<Option<Unlocked>> {
    sqlx::query_as!(
        Unlocked,
        r#"SELECT user_id AS "user_id!", email AS "email!" FROM core.use_unlock_ticket($1)"#,
        token_hash
    )
    .fetch_optional(db)
    .await
}

/// A trusted device, as its owner sees it.
pub(super) struct Device {
    pub(super) device_id: Uuid,
    pub(super) description: String,
    pub(super) created_at: DateTime<Utc>,
    pub(super) last_used_at: DateTime<Utc>,
    pub(super) expires_at: DateTime<Utc>,
}

/// The devices that row-level security shows, the one that was used last first.
pub(super) async fn devices(conn: &mut PgConnection) -> sqlx::Result<Vec<Device>> {
    sqlx::query_as!(
        Device,
        "SELECT device_id, description, created_at, last_used_at, expires_at
           FROM core.trusted_device WHERE expires_at > now() ORDER BY last_used_at DESC, device_id DESC"
    )
    .fetch_all(conn)
    .await
}
