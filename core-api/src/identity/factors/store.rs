//! Queries of second factors. Each function is one statement; callers own the transaction, and writes go through the definer
//! functions.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// Whose session it is, with its factors held until the transaction ends.
pub(super) async fn hold_own_factors(conn: &mut PgConnection, session: Uuid) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!("SELECT core.hold_own_factors($1)", session)
        .fetch_one(conn)
        .await
}

/// A secret that waits for its first code.
pub(super) struct NewTotp<'a> {
    pub(super) session: Uuid,
    /// Of the password that was right.
    pub(super) password_version: i32,
    pub(super) sealed: &'a [u8],
    pub(super) for_s: i32,
}

/// What became of the beginning of an enrolment.
pub(super) enum Begun {
    Done,
    /// There is a confirmed one.
    Exists,
    SessionEnded,
}

pub(super) async fn begin_totp(
    conn: &mut PgConnection,
    new: NewTotp<'_>,
    request_id: &str,
) -> sqlx::Result<Begun> {
    let outcome = sqlx::query_scalar!(
        r#"SELECT core.begin_totp($1, $2, $3, $4, $5) AS "outcome!""#,
        new.session,
        new.password_version,
        new.sealed,
        new.for_s,
        request_id
    )
    .fetch_one(conn)
    .await?;
    Ok(match outcome.as_str() {
        "begun" => Begun::Done,
        "exists" => Begun::Exists,
        _ => Begun::SessionEnded,
    })
}

/// The secret that waits for its first code, and the time of the database.
pub(super) struct Pending {
    pub(super) sealed: Vec<u8>,
    pub(super) now_ms: i64,
}

pub(super) async fn pending_totp(
    conn: &mut PgConnection,
    session: Uuid,
    most_failures: i32,
) -> sqlx::Result<Option<Pending>> {
    sqlx::query_as!(
        Pending,
        r#"SELECT sealed AS "sealed!", now_ms AS "now_ms!" FROM core.pending_totp($1, $2)"#,
        session,
        most_failures
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn fail_pending_totp(
    conn: &mut PgConnection,
    session: Uuid,
    request_id: &str,
) -> sqlx::Result<()> {
    sqlx::query!("SELECT core.fail_pending_totp($1, $2)", session, request_id)
        .fetch_one(conn)
        .await
        .map(drop)
}

/// The first code of a secret, and the recovery codes that are given for it.
pub(super) struct Confirmation<'a> {
    pub(super) session: Uuid,
    pub(super) step: i64,
    pub(super) code_hashes: &'a [Vec<u8>],
    /// Sessions used within so many seconds may have good tokens.
    pub(super) used_s: i32,
}

/// Gives the sessions that have ended and whose access tokens may still be good; None when nothing waits for a code.
pub(super) async fn confirm_totp(
    conn: &mut PgConnection,
    confirmation: Confirmation<'_>,
    request_id: &str,
) -> sqlx::Result<Option<Vec<Uuid>>> {
    sqlx::query_scalar!(
        "SELECT core.confirm_totp($1, $2, $3, $4, $5)",
        confirmation.session,
        confirmation.step,
        confirmation.code_hashes,
        confirmation.used_s,
        request_id
    )
    .fetch_one(conn)
    .await
}

/// The same of new recovery codes; None when there is no second factor.
pub(super) async fn renew_recovery_codes(
    conn: &mut PgConnection,
    session: Uuid,
    code_hashes: &[Vec<u8>],
    used_s: i32,
    request_id: &str,
) -> sqlx::Result<Option<Vec<Uuid>>> {
    sqlx::query_scalar!(
        r#"SELECT ended AS "ended!" FROM core.renew_recovery_codes($1, $2, $3, $4)"#,
        session,
        code_hashes,
        used_s,
        request_id
    )
    .fetch_optional(conn)
    .await
}

/// Who removes the factors of a user, and which session goes on.
pub(super) struct Removal<'a> {
    pub(super) user: Uuid,
    pub(super) spared: Option<Uuid>,
    pub(super) outcome: &'a str,
    pub(super) used_s: i32,
}

/// The owner of removed factors, and his sessions that have ended.
pub(super) struct Removed {
    pub(super) email: String,
    pub(super) ended: Vec<Uuid>,
}

/// Removes the factors of a user; None when there are none.
pub(super) async fn remove_factors(
    conn: &mut PgConnection,
    removal: Removal<'_>,
    request_id: &str,
) -> sqlx::Result<Option<Removed>> {
    sqlx::query_as!(
        Removed,
        r#"SELECT email AS "email!", ended AS "ended!" FROM core.remove_factors($1, $2, $3, $4, $5)"#,
        removal.user,
        removal.spared as _,
        removal.outcome,
        removal.used_s,
        request_id
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn has_second_factor(db: impl PgExecutor<'_>, user: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"SELECT core.has_second_factor($1) AS "has!""#, user)
        .fetch_one(db)
        .await
}

/// A log-in whose password was right.
pub(super) struct NewChallenge<'a> {
    pub(super) user: Uuid,
    pub(super) password_version: i32,
    pub(super) token_hash: &'a [u8],
    pub(super) for_s: i32,
    pub(super) rehashed: Option<&'a str>,
}

/// Awaits a second factor; false when the user has none.
pub(super) async fn challenge_login(
    conn: &mut PgConnection,
    new: NewChallenge<'_>,
    request_id: &str,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT core.challenge_login($1, $2, $3, $4, $5, $6) AS "is_awaited!""#,
        new.user,
        new.password_version,
        new.token_hash,
        new.for_s,
        new.rehashed as _,
        request_id
    )
    .fetch_one(conn)
    .await
}

/// Whose log-in awaits a second factor.
pub(super) struct Challenged {
    pub(super) user_id: Uuid,
    pub(super) email: String,
}

/// Holds a log-in until the transaction ends; None when it is not good.
pub(super) async fn hold_challenge(
    conn: &mut PgConnection,
    token_hash: &[u8],
    most_failures: i32,
) -> sqlx::Result<Option<Challenged>> {
    sqlx::query_as!(
        Challenged,
        r#"SELECT user_id AS "user_id!", email AS "email!" FROM core.hold_challenge($1, $2)"#,
        token_hash,
        most_failures
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn fail_challenge(conn: &mut PgConnection, token_hash: &[u8]) -> sqlx::Result<()> {
    sqlx::query!("SELECT core.fail_challenge($1)", token_hash)
        .fetch_one(conn)
        .await
        .map(drop)
}

/// True once.
pub(super) async fn use_challenge(conn: &mut PgConnection, token_hash: &[u8]) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"SELECT core.use_challenge($1) AS "is_used!""#, token_hash)
        .fetch_one(conn)
        .await
}

/// The sealed secret of a user; None when there is none.
pub(super) async fn totp_secret(conn: &mut PgConnection, user: Uuid) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar!(r#"SELECT sealed AS "sealed!" FROM core.totp_secret($1)"#, user)
        .fetch_optional(conn)
        .await
}

/// Uses the code of a time step up; true once, and for no step before the last.
pub(super) async fn use_totp_step(
    conn: &mut PgConnection,
    user: Uuid,
    step: i64,
    resealed: Option<&[u8]>,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT core.use_totp_step($1, $2, $3) AS "is_used!""#,
        user,
        step,
        resealed as _
    )
    .fetch_one(conn)
    .await
}

/// Uses a recovery code up; true once.
pub(super) async fn use_recovery_code(
    conn: &mut PgConnection,
    user: Uuid,
    code_hash: &[u8],
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT core.use_recovery_code($1, $2) AS "is_used!""#,
        user,
        code_hash
    )
    .fetch_one(conn)
    .await
}

/// What a person confirms.
pub(super) struct NewStepUp<'a> {
    pub(super) session: Uuid,
    pub(super) token_hash: &'a [u8],
    pub(super) digest: &'a [u8],
    pub(super) for_s: i32,
}

pub(super) async fn give_step_up(
    conn: &mut PgConnection,
    new: NewStepUp<'_>,
    request_id: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "SELECT core.give_step_up($1, $2, $3, $4, $5)",
        new.session,
        new.token_hash,
        new.digest,
        new.for_s,
        request_id
    )
    .fetch_one(conn)
    .await
    .map(drop)
}

/// Counts a wrong code of a session. When it was one too many the session has ended, and is given if its access tokens may still
/// be good.
pub(super) async fn fail_step_up(
    conn: &mut PgConnection,
    session: Uuid,
    most: i32,
    used_s: i32,
    request_id: &str,
) -> sqlx::Result<Option<Vec<Uuid>>> {
    sqlx::query_scalar!(
        r#"SELECT ended AS "ended!" FROM core.fail_step_up($1, $2, $3, $4)"#,
        session,
        most,
        used_s,
        request_id
    )
    .fetch_optional(conn)
    .await
}

/// What a confirmation is used for.
pub(super) struct StepUpUse<'a> {
    pub(super) session: Uuid,
    pub(super) token_hash: &'a [u8],
    pub(super) digest: &'a [u8],
    /// The same again is the same use.
    pub(super) used_for: Uuid,
}

/// Uses a confirmation up; false when it is not good for this.
pub(super) async fn use_step_up(
    conn: &mut PgConnection,
    step_up: StepUpUse<'_>,
    request_id: &str,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT core.use_step_up($1, $2, $3, $4, $5) AS "is_used!""#,
        step_up.session,
        step_up.token_hash,
        step_up.digest,
        step_up.used_for,
        request_id
    )
    .fetch_one(conn)
    .await
}

/// Something that auditors and other systems hear of.
pub(super) async fn record(
    conn: &mut PgConnection,
    user: Uuid,
    session: Option<Uuid>,
    (action, outcome): (&str, &str),
    request_id: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "SELECT core.record_factor_event($1, $2, $3, $4, $5)",
        user,
        session as _,
        action,
        outcome,
        request_id
    )
    .fetch_one(conn)
    .await
    .map(drop)
}

/// The factors that row-level security shows.
pub(super) struct OwnFactors {
    pub(super) confirmed_at: Option<DateTime<Utc>>,
    pub(super) last_used_at: Option<DateTime<Utc>>,
    pub(super) first_passkey_at: Option<DateTime<Utc>>,
    pub(super) codes_left: i64,
}

impl OwnFactors {
    /// Since when the oldest of them counts; None when there is none.
    pub(super) fn oldest(&self) -> Option<DateTime<Utc>> {
        self.confirmed_at.into_iter().chain(self.first_passkey_at).min()
    }
}

pub(super) async fn own_factors(conn: &mut PgConnection) -> sqlx::Result<OwnFactors> {
    sqlx::query_as!(
        OwnFactors,
        r#"SELECT f.confirmed_at AS "confirmed_at?", f.last_used_at AS "last_used_at?",
                  (SELECT min(k.created_at) FROM core.passkey k) AS first_passkey_at,
                  (SELECT count(*) FROM core.recovery_code c WHERE c.used_at IS NULL) AS "codes_left!"
             FROM (VALUES (1)) one LEFT JOIN core.totp_factor f ON f.confirmed_at IS NOT NULL"#
    )
    .fetch_one(conn)
    .await
}
