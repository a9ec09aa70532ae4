//! Queries of passkeys. Each function is one statement; callers own the transaction, and writes go through the definer functions.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{CEREMONY_S, Purpose};

/// What a person's authenticator is asked.
pub(super) struct OwnCeremony<'a> {
    pub(super) session: Uuid,
    pub(super) purpose: Purpose,
    pub(super) token_hash: &'a [u8],
    /// Of the operation that is confirmed.
    pub(super) digest: Option<&'a [u8]>,
    pub(super) state: &'a Value,
}

pub(super) async fn begin_own(conn: &mut PgConnection, new: OwnCeremony<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "SELECT core.begin_own_ceremony($1, $2, $3, $4, $5, $6)",
        new.session,
        new.purpose.as_str(),
        new.token_hash,
        new.digest as _,
        new.state,
        CEREMONY_S
    )
    .fetch_one(conn)
    .await
    .map(drop)
}

/// What nobody knows whose authenticator is asked, from a network that has a place for so many.
pub(super) struct LogInCeremony<'a> {
    pub(super) token_hash: &'a [u8],
    pub(super) network: &'a [u8],
    pub(super) most: i64,
    pub(super) state: &'a Value,
}

pub(super) async fn begin_log_in(conn: &mut PgConnection, new: LogInCeremony<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "SELECT core.begin_passkey_log_in($1, $2, $3, $4, $5)",
        new.token_hash,
        new.network,
        new.most,
        new.state,
        CEREMONY_S
    )
    .fetch_one(conn)
    .await
    .map(drop)
}

/// A ceremony that was used up by reading it.
pub(super) struct Used {
    pub(super) state: Value,
    /// Of the operation that is confirmed.
    pub(super) digest: Option<Vec<u8>>,
}

/// Uses a ceremony up; None when it is none of this purpose and session.
pub(super) async fn use_ceremony(
    conn: &mut PgConnection,
    token_hash: &[u8],
    purpose: Purpose,
    session: Option<Uuid>,
) -> sqlx::Result<Option<Used>> {
    sqlx::query_as!(
        Used,
        r#"SELECT state AS "state!", digest FROM core.use_ceremony($1, $2, $3)"#,
        token_hash,
        purpose.as_str(),
        session as _
    )
    .fetch_optional(conn)
    .await
}

/// A passkey that is shown, held with its owner.
pub(super) struct Held {
    pub(super) passkey_id: Uuid,
    pub(super) email: String,
    pub(super) credential: Value,
    pub(super) sign_count: i64,
    pub(super) created_at: DateTime<Utc>,
    /// The time of the database, milliseconds since 1970.
    pub(super) now_ms: i64,
}

/// Holds a passkey of a user until the transaction ends; None when it is not his, or he may not sign in.
pub(super) async fn hold_passkey(
    conn: &mut PgConnection,
    user: Uuid,
    credential_id: &[u8],
) -> sqlx::Result<Option<Held>> {
    sqlx::query_as!(
        Held,
        r#"SELECT passkey_id AS "passkey_id!", email AS "email!", credential AS "credential!", sign_count AS "sign_count!",
                  created_at AS "created_at!", now_ms AS "now_ms!"
             FROM core.hold_passkey($1, $2)"#,
        user,
        credential_id
    )
    .fetch_optional(conn)
    .await
}

/// What an answer said of its passkey.
pub(super) struct Use<'a> {
    pub(super) passkey: Uuid,
    pub(super) credential: &'a Value,
    pub(super) sign_count: i64,
    pub(super) is_backed_up: bool,
}

pub(super) async fn use_passkey(conn: &mut PgConnection, used: Use<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "SELECT core.use_passkey($1, $2, $3, $4)",
        used.passkey,
        used.credential,
        used.sign_count,
        used.is_backed_up
    )
    .fetch_one(conn)
    .await
    .map(drop)
}

/// A passkey that auditors hear of, and whose it is.
pub(super) struct Subject {
    pub(super) user: Uuid,
    pub(super) session: Option<Uuid>,
    pub(super) passkey: Option<Uuid>,
}

pub(super) async fn record(
    conn: &mut PgConnection,
    subject: Subject,
    (action, outcome): (&str, &str),
    request_id: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "SELECT core.record_passkey_event($1, $2, $3, $4, $5, $6)",
        subject.user,
        subject.session as _,
        action,
        subject.passkey as _,
        outcome,
        request_id
    )
    .fetch_one(conn)
    .await
    .map(drop)
}

/// A passkey that is about to count.
pub(super) struct NewPasskey<'a> {
    pub(super) session: Uuid,
    pub(super) passkey: Uuid,
    pub(super) credential_id: &'a [u8],
    pub(super) credential: &'a Value,
    pub(super) sign_count: i64,
    pub(super) is_backed_up: bool,
    pub(super) name: &'a str,
    pub(super) most: i64,
    /// Given with the first second factor, and with no other.
    pub(super) code_hashes: &'a [Vec<u8>],
    /// Sessions used within so many seconds may have good tokens.
    pub(super) used_s: i32,
}

/// What became of it.
pub(super) enum Added {
    /// It counts. These sessions have ended, whose access tokens may still be good.
    Done(Vec<Uuid>),
    TooMany,
    /// Somebody has it.
    Known,
}

pub(super) async fn add_passkey(
    conn: &mut PgConnection,
    new: NewPasskey<'_>,
    request_id: &str,
) -> sqlx::Result<Added> {
    let added = sqlx::query!(
        r#"SELECT outcome AS "outcome!", ended AS "ended!"
             FROM core.add_passkey($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"#,
        new.session,
        new.passkey,
        new.credential_id,
        new.credential,
        new.sign_count,
        new.is_backed_up,
        new.name,
        new.most,
        new.code_hashes,
        new.used_s,
        request_id
    )
    .fetch_one(conn)
    .await?;
    Ok(match added.outcome.as_str() {
        "added" => Added::Done(added.ended),
        "too_many" => Added::TooMany,
        _ => Added::Known,
    })
}

/// Removes a passkey of the caller; None when he has no such one. Gives his sessions that have ended and may have good tokens.
pub(super) async fn remove_passkey(
    conn: &mut PgConnection,
    session: Uuid,
    passkey: Uuid,
    used_s: i32,
    request_id: &str,
) -> sqlx::Result<Option<Vec<Uuid>>> {
    sqlx::query_scalar!(
        r#"SELECT ended AS "ended!" FROM core.remove_passkey($1, $2, $3, $4)"#,
        session,
        passkey,
        used_s,
        request_id
    )
    .fetch_optional(conn)
    .await
}

/// Names a passkey of the caller; false when he has no such one.
pub(super) async fn name_passkey(
    conn: &mut PgConnection,
    session: Uuid,
    passkey: Uuid,
    name: &str,
    request_id: &str,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT core.name_passkey($1, $2, $3, $4) AS "is_named!""#,
        session,
        passkey,
        name,
        request_id
    )
    .fetch_one(conn)
    .await
}

/// A passkey, as its owner sees it.
pub(in crate::identity::factors) struct OwnPasskey {
    pub(in crate::identity::factors) passkey_id: Uuid,
    pub(super) credential_id: Vec<u8>,
    pub(in crate::identity::factors) name: String,
    pub(in crate::identity::factors) is_backed_up: bool,
    pub(in crate::identity::factors) created_at: DateTime<Utc>,
    pub(in crate::identity::factors) last_used_at: Option<DateTime<Utc>>,
}

/// The passkeys that row-level security shows, the oldest first.
pub(in crate::identity::factors) async fn own_passkeys(
    conn: &mut PgConnection,
) -> sqlx::Result<Vec<OwnPasskey>> {
    sqlx::query_as!(
        OwnPasskey,
        "SELECT passkey_id, credential_id, name, is_backed_up, created_at, last_used_at
           FROM core.passkey ORDER BY created_at, passkey_id"
    )
    .fetch_all(conn)
    .await
}
