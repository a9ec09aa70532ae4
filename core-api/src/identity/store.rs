//! Queries of the identity slice. Each function is one statement; writes go through the definer functions.

use chrono::{DateTime, Utc};
use keyring::SealedPrivateKey;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::passwords::Person;

/// A user who wants to register.
pub(super) struct NewUser<'a> {
    pub(super) user_id: Uuid,
    pub(super) email: &'a str,
    pub(super) full_name: &'a str,
    pub(super) password_hash: &'a str,
    pub(super) active: bool,
    pub(super) created_at: DateTime<Utc>,
    pub(super) language: Option<&'a str>,
    /// Whether the mail is in the queue; without it nothing happens.
    pub(super) is_queued: bool,
}

/// Registers a user, whose address the mail is to verify. What happened to a known address, nobody is told.
pub(super) async fn register(
    db: impl PgExecutor<'_>,
    user: NewUser<'_>,
    ticket: TicketOf<'_>,
    request_id: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "SELECT core.register_applicant($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        user.user_id,
        user.email,
        user.full_name,
        user.password_hash,
        user.active,
        user.created_at,
        user.language as _,
        ticket.token_hash,
        ticket.lifetime_s,
        user.is_queued,
        request_id,
    )
    .execute(db)
    .await
    .map(drop)
}

/// A ticket by what the database knows of it.
#[derive(Clone, Copy)]
pub(super) struct TicketOf<'a> {
    pub(super) token_hash: &'a [u8],
    /// From now, seconds.
    pub(super) lifetime_s: i32,
}

/// Uses the ticket of a registration or of a new address; false when it is not good.
pub(super) async fn verify_email(
    db: impl PgExecutor<'_>,
    token_hash: &[u8],
    request_id: &str,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!("SELECT core.verify_email($1, $2)", token_hash, request_id)
        .fetch_one(db)
        .await
        .map(|outcome| outcome.is_some())
}

/// The address whose password a ticket would reset; None when it is not good. Uses nothing up.
pub(super) async fn password_reset_candidate(
    db: impl PgExecutor<'_>,
    token_hash: &[u8],
) -> sqlx::Result<Option<Person>> {
    sqlx::query_as!(
        Person,
        r#"SELECT email AS "email!", full_name AS "full_name!" FROM core.password_reset_candidate($1)"#,
        token_hash
    )
    .fetch_optional(db)
    .await
}

/// A user whose sessions have all ended.
pub(super) struct Secured {
    pub(super) user_id: Uuid,
    pub(super) email: String,
    /// The sessions whose access tokens may still be good.
    pub(super) ended: Vec<Uuid>,
}

/// Sets a new password; None when the ticket is not good.
pub(super) async fn reset_password(
    db: impl PgExecutor<'_>,
    token_hash: &[u8],
    password_hash: &str,
    request_id: &str,
) -> sqlx::Result<Option<Secured>> {
    sqlx::query_as!(
        Secured,
        r#"SELECT user_id AS "user_id!", email AS "email!", ended AS "ended!" FROM core.reset_password($1, $2, $3)"#,
        token_hash,
        password_hash,
        request_id,
    )
    .fetch_optional(db)
    .await
}

/// Who wants which address.
pub(super) struct EmailChange<'a> {
    pub(super) session_id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) tenant_id: Uuid,
    /// Of the password that was compared.
    pub(super) password_version: i32,
    pub(super) email: &'a str,
    pub(super) change: TicketOf<'a>,
    pub(super) keep: TicketOf<'a>,
}

/// Notes a change of the address; gives the old one, or None when the session is over or the password has changed.
pub(super) async fn request_email_change(
    db: impl PgExecutor<'_>,
    change: EmailChange<'_>,
    request_id: &str,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "SELECT core.request_email_change($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        change.session_id,
        change.user_id,
        change.tenant_id,
        change.password_version,
        change.email,
        change.change.token_hash,
        change.change.lifetime_s,
        change.keep.token_hash,
        change.keep.lifetime_s,
        request_id,
    )
    .fetch_one(db)
    .await
}

/// Gives a user his old address back; None when the ticket is not good.
pub(super) async fn keep_email(
    db: impl PgExecutor<'_>,
    token_hash: &[u8],
    nobody: &str,
    request_id: &str,
) -> sqlx::Result<Option<Secured>> {
    sqlx::query_as!(
        Secured,
        r#"SELECT user_id AS "user_id!", email AS "email!", ended AS "ended!" FROM core.keep_email($1, $2, $3)"#,
        token_hash,
        nobody,
        request_id,
    )
    .fetch_optional(db)
    .await
}

/// What a log-in needs to know of an address.
pub(super) struct Candidate {
    pub(super) user_id: Uuid,
    pub(super) status: String,
    pub(super) password_hash: String,
    /// Which of the user's passwords it is a hash of.
    pub(super) password_version: i32,
}

pub(super) async fn login_candidate(db: impl PgExecutor<'_>, email: &str) -> sqlx::Result<Option<Candidate>> {
    sqlx::query_as!(
        Candidate,
        r#"SELECT user_id AS "user_id!", status AS "status!", password_hash AS "password_hash!",
                  core.password_version(user_id) AS "password_version!"
             FROM core.login_candidate($1)"#,
        email,
    )
    .fetch_optional(db)
    .await
}

/// Whether a user still has that password; it stays until the transaction ends.
pub(super) async fn hold_password(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    password_version: i32,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT core.hold_password($1, $2) AS "is_held!""#,
        user_id,
        password_version
    )
    .fetch_one(db)
    .await
}

/// What the change of a password needs to know of its owner.
pub(super) struct OwnPassword {
    pub(super) email: String,
    pub(super) full_name: String,
    pub(super) password_hash: String,
    pub(super) password_version: i32,
}

/// Reads the password of the user whom the transaction is bound to.
pub(super) async fn own_password(conn: &mut PgConnection) -> sqlx::Result<OwnPassword> {
    sqlx::query_as!(
        OwnPassword,
        r#"SELECT email AS "email!", full_name AS "full_name!", password_hash AS "password_hash!",
                  password_version AS "password_version!"
             FROM core.own_password()"#
    )
    .fetch_one(conn)
    .await
}

/// Leaves the audit row of an action that asks for the password once more, when that was wrong.
pub(super) async fn refuse_password(
    conn: &mut PgConnection,
    session_id: Uuid,
    action: &str,
    request_id: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "SELECT core.refuse_password($1, $2, $3)",
        session_id,
        action,
        request_id
    )
    .fetch_one(conn)
    .await
    .map(drop)
}

/// The hash of a new password, in place of that version of it.
pub(super) struct NewHash<'a> {
    pub(super) version: i32,
    pub(super) hash: &'a str,
}

/// What became of a change.
pub(super) enum Changed {
    /// It is the password now. These sessions have ended, whose access tokens may still be good.
    Done(Vec<Uuid>),
    /// Another request has changed it.
    Meanwhile,
    /// The session that asked is over.
    SessionEnded,
}

/// Changes the password of the user whom the transaction is bound to, and ends the other sessions. Those that were used
/// within `used_s` seconds are given back.
pub(super) async fn change_password(
    conn: &mut PgConnection,
    session_id: Uuid,
    hash: NewHash<'_>,
    used_s: u32,
    request_id: &str,
) -> sqlx::Result<Changed> {
    let row = sqlx::query!(
        r#"SELECT outcome AS "outcome!", ended AS "ended!" FROM core.change_password($1, $2, $3, $4, $5)"#,
        session_id,
        hash.version,
        hash.hash,
        i32::try_from(used_s).unwrap_or(i32::MAX),
        request_id
    )
    .fetch_one(conn)
    .await?;
    Ok(match row.outcome.as_str() {
        "done" => Changed::Done(row.ended),
        "meanwhile" => Changed::Meanwhile,
        _ => Changed::SessionEnded,
    })
}

/// Leaves the audit row of a refused log-in.
pub(super) async fn refuse_login(
    db: impl PgExecutor<'_>,
    user_id: Option<Uuid>,
    request_id: &str,
) -> sqlx::Result<()> {
    sqlx::query!("SELECT core.refuse_login($1, $2)", user_id as _, request_id)
        .fetch_one(db)
        .await
        .map(drop)
}

/// The secrets and times of a session about to open.
pub(super) struct NewSession<'a> {
    pub(super) user_id: Uuid,
    pub(super) session_id: Uuid,
    pub(super) refresh_id: Uuid,
    pub(super) secret_hash: &'a [u8],
    pub(super) access_id: Uuid,
    pub(super) idle_s: i32,
    pub(super) absolute_s: i32,
    pub(super) rehashed: Option<&'a str>,
    pub(super) user_agent: Option<&'a str>,
    pub(super) address: Option<&'a str>,
    /// How its user showed who he is (RFC 8176).
    pub(super) amr: &'a [String],
}

/// What the issuer stamps on the access token of a new session.
pub(super) struct Opened {
    pub(super) tenant_id: Uuid,
    /// None: there is no active signing key, and no session was opened.
    pub(super) kid: Option<String>,
    pub(super) issued_at: DateTime<Utc>,
    pub(super) auth_time: Option<DateTime<Utc>>,
}

/// Opens a session; None when the user is not active any more.
pub(super) async fn open_session(
    db: impl PgExecutor<'_>,
    session: NewSession<'_>,
    request_id: &str,
) -> sqlx::Result<Option<Opened>> {
    sqlx::query_as!(
        Opened,
        r#"SELECT o.tenant_public_id AS "tenant_id!", o.kid, o.issued_at AS "issued_at!", a.auth_time
             FROM core.open_session($1, $2, $3, $4, $5, $6, $7, $8, $9) o,
                  LATERAL core.describe_session(CASE WHEN o.kid IS NOT NULL THEN $2 END, $10, $11),
                  LATERAL core.note_authentication(CASE WHEN o.kid IS NOT NULL THEN $2 END, $12) AS a(auth_time)"#,
        session.user_id,
        session.session_id,
        session.refresh_id,
        session.secret_hash,
        session.access_id,
        session.idle_s,
        session.absolute_s,
        session.rehashed as _,
        request_id,
        session.user_agent as _,
        session.address as _,
        session.amr,
    )
    .fetch_optional(db)
    .await
}

/// A refresh token that was presented, and the successor to put in its place.
pub(super) struct Rotation<'a> {
    pub(super) refresh_id: Uuid,
    pub(super) secret_hash: &'a [u8],
    pub(super) new_refresh_id: Uuid,
    pub(super) new_secret_hash: &'a [u8],
    pub(super) new_access_id: Uuid,
    pub(super) request_key_hash: Option<&'a [u8]>,
    pub(super) replay_sealed: &'a [u8],
    pub(super) idle_s: i32,
}

/// What became of a rotation; the meaning of `outcome` stands with the function in the migrations.
pub(super) struct Rotated {
    pub(super) outcome: String,
    pub(super) user_id: Option<Uuid>,
    pub(super) tenant_id: Option<Uuid>,
    pub(super) session_id: Option<Uuid>,
    pub(super) access_id: Option<Uuid>,
    pub(super) kid: Option<String>,
    pub(super) issued_at: DateTime<Utc>,
    pub(super) replay_sealed: Option<Vec<u8>>,
    /// How the session was opened.
    pub(super) amr: Option<Vec<String>>,
    pub(super) auth_time: Option<DateTime<Utc>>,
}

pub(super) async fn rotate(
    db: impl PgExecutor<'_>,
    rotation: Rotation<'_>,
    request_id: &str,
) -> sqlx::Result<Rotated> {
    sqlx::query_as!(
        Rotated,
        r#"SELECT r.outcome AS "outcome!", r.user_id, r.tenant_public_id AS tenant_id, r.session_id,
                  r.access_token_id AS access_id, r.kid, r.issued_at AS "issued_at!", r.replay_sealed, a.amr, a.auth_time
             FROM core.rotate_refresh_token($1, $2, $3, $4, $5, $6, $7, $8, $9) r
             LEFT JOIN LATERAL core.session_authentication(r.session_id) a ON true"#,
        rotation.refresh_id,
        rotation.secret_hash,
        rotation.new_refresh_id,
        rotation.new_secret_hash,
        rotation.new_access_id,
        rotation.request_key_hash as _,
        rotation.replay_sealed,
        rotation.idle_s,
        request_id,
    )
    .fetch_one(db)
    .await
}

/// Whose session a browser has.
pub(super) struct EnteredBrowser {
    pub(super) session_id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) tenant_id: Uuid,
    /// What the person has said to prefer.
    pub(super) language: Option<String>,
}

/// The live session of a browser's cookie, which is in use by that; None when there is none.
pub(super) async fn enter_browser(
    db: impl PgExecutor<'_>,
    token_id: Uuid,
    secret_hash: &[u8],
    idle_s: i32,
) -> sqlx::Result<Option<EnteredBrowser>> {
    sqlx::query_as!(
        EnteredBrowser,
        r#"SELECT session_id AS "session_id!", user_id AS "user_id!", tenant_public_id AS "tenant_id!", language
             FROM core.enter_browser($1, $2, $3)"#,
        token_id,
        secret_hash,
        idle_s,
    )
    .fetch_optional(db)
    .await
}

/// Ends a session; false when it was over already.
pub(super) async fn end_session(
    db: impl PgExecutor<'_>,
    session_id: Uuid,
    user_id: Uuid,
    request_id: &str,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT core.end_session($1, $2, $3) AS "ended!""#,
        session_id,
        user_id,
        request_id
    )
    .fetch_one(db)
    .await
}

/// Tells gateways that a session has ended, for as long as its last token lives; false when the list has no room for it.
pub(super) async fn revoke_ended_session(
    db: impl PgExecutor<'_>,
    issuer: &str,
    session: &str,
    for_s: u32,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT control.revoke_ended_session($1, $2, $3) AS "told!""#,
        issuer,
        session,
        i64::from(for_s)
    )
    .fetch_one(db)
    .await
}

/// Tells gateways that these sessions have ended, for as long as a token lives; of those that the list has no room for it
/// says nothing.
pub(super) async fn revoke_ended_sessions(
    conn: &mut PgConnection,
    issuer: &str,
    sessions: &[String],
    for_s: u32,
) -> sqlx::Result<()> {
    sqlx::query!(
        "SELECT control.revoke_ended_session($1, name, $3) FROM unnest($2::text[]) AS name",
        issuer,
        sessions,
        i64::from(for_s)
    )
    .fetch_all(conn)
    .await
    .map(drop)
}

/// What an operator does to an account.
pub(super) struct AccountChange {
    pub(super) user: Uuid,
    /// The status that it shall have; None leaves it.
    pub(super) status: Option<&'static str>,
    /// The access tokens of a session that was used within so many seconds may still be good.
    pub(super) used_s: i32,
}

/// What became of it.
pub(super) struct Operated {
    pub(super) is_changed: bool,
    pub(super) sessions: i64,
    /// Sessions that have ended, and whose access tokens may still be good.
    pub(super) with_tokens: Vec<Uuid>,
}

/// Disables an account, enables it, or signs it out everywhere.
pub(super) async fn operate_account(
    conn: &mut PgConnection,
    change: AccountChange,
    request_id: &str,
) -> sqlx::Result<Operated> {
    sqlx::query_as!(
        Operated,
        r#"SELECT is_changed AS "is_changed!", sessions AS "sessions!", with_tokens AS "with_tokens!"
             FROM core.operate_account($1, $2, $3, $4)"#,
        change.user,
        change.status as _,
        change.used_s,
        request_id
    )
    .fetch_one(conn)
    .await
}

/// Checks a session and binds the transaction to its tenant and user; false when it is over.
pub(super) async fn enter_session(
    conn: &mut PgConnection,
    session_id: Uuid,
    user_id: Uuid,
    tenant_id: Uuid,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT core.enter_session($1, $2, $3) AS "live!""#,
        session_id,
        user_id,
        tenant_id
    )
    .fetch_one(conn)
    .await
}

/// The caller's own record.
pub(super) struct Me {
    pub(super) user_id: Uuid,
    pub(super) email: String,
    pub(super) full_name: String,
    pub(super) status: String,
    pub(super) tenant_id: Uuid,
    pub(super) tenant_name: String,
    pub(super) created_at: DateTime<Utc>,
}

/// Reads the one user that row-level security shows.
pub(super) async fn me(conn: &mut PgConnection) -> sqlx::Result<Me> {
    sqlx::query_as!(
        Me,
        r#"SELECT u.user_id, u.email, u.full_name, u.status, t.public_id AS tenant_id, t.name AS tenant_name, u.created_at
             FROM core.user u JOIN core.tenant t ON t.tenant_id = u.tenant_id"#
    )
    .fetch_one(conn)
    .await
}

/// How many users were active within the window, seconds.
pub(super) async fn active_users(db: impl PgExecutor<'_>, window_s: i32) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"SELECT core.active_user_count($1) AS "count!""#, window_s)
        .fetch_one(db)
        .await
}

/// One key of the ring as verifiers need it.
pub(super) struct PublishedKey {
    pub(super) kid: String,
    pub(super) algorithm: String,
    pub(super) state: String,
    pub(super) public_key: Vec<u8>,
    pub(super) sign_until: Option<DateTime<Utc>>,
    pub(super) verify_until: Option<DateTime<Utc>>,
}

/// Every key of the `access` ring that verifies or is revoked.
pub(super) async fn published_keys(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<PublishedKey>> {
    sqlx::query_as!(
        PublishedKey,
        "SELECT kid, algorithm, state, public_key, sign_until, verify_until
           FROM control.signing_key
          WHERE ring = 'access' AND state IN ('published', 'active', 'retiring', 'revoked')
          ORDER BY published_at DESC NULLS LAST"
    )
    .fetch_all(db)
    .await
}

/// The `seq` of the `access` ring.
pub(super) async fn ring_seq(db: impl PgExecutor<'_>) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!("SELECT seq FROM control.key_ring WHERE ring = 'access'")
        .fetch_optional(db)
        .await
}

/// Where the rings that core-api verifies with stand.
pub(super) async fn ring_seqs(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, i64)>> {
    let rows = sqlx::query!("SELECT ring, seq FROM control.key_ring WHERE ring IN ('access', 'stepup')")
        .fetch_all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (row.ring, row.seq)).collect())
}

/// Says what this process holds of a ring, and for how many seconds it is to be waited for.
pub(super) async fn note_verifier(
    db: impl PgExecutor<'_>,
    name: &str,
    ring: &str,
    seq: i64,
    live_s: i32,
) -> sqlx::Result<()> {
    sqlx::query!(
        "SELECT control.note_verifier($1, $2, $3, $4)",
        name,
        ring,
        seq,
        live_s
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Says which versions of the key-encryption key this process has, and for how many seconds that counts.
pub(super) async fn note_kek_holder(
    db: impl PgExecutor<'_>,
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
    .execute(db)
    .await?;
    Ok(())
}

/// The active key with its sealed private part.
pub(super) struct SealedKey {
    pub(super) kid: String,
    pub(super) algorithm: String,
    pub(super) sealed: SealedPrivateKey,
}

pub(super) async fn active_key(db: impl PgExecutor<'_>) -> sqlx::Result<Option<SealedKey>> {
    let row = sqlx::query!(
        r#"SELECT kid AS "kid!", algorithm AS "algorithm!", kek_version AS "kek_version!", sealed_private_key AS "sealed!",
                  wrapped_data_key
             FROM control.active_signing_key WHERE ring = 'access'"#
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| SealedKey {
        kid: row.kid,
        algorithm: row.algorithm,
        sealed: SealedPrivateKey {
            kek_version: row.kek_version,
            wrapped_data_key: row.wrapped_data_key,
            ciphertext: row.sealed,
        },
    }))
}

/// A version of the key-encryption key that is in use.
pub(super) struct Kek {
    pub(super) version: i32,
    pub(super) is_active: bool,
    pub(super) check_value: Option<Vec<u8>>,
}

/// The versions of the key-encryption key that are not retired.
pub(super) async fn keks(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Kek>> {
    sqlx::query_as!(
        Kek,
        r#"SELECT version, state = 'active' AS "is_active!", check_value FROM control.kek WHERE state <> 'retired'"#
    )
    .fetch_all(db)
    .await
}
