//! Queries of the mail queue. Each function is one statement; writes go through the definer functions.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// A mail for the queue.
pub(super) struct NewJob<'a> {
    pub(super) id: Uuid,
    pub(super) kind: &'a str,
    pub(super) recipient_key: &'a [u8],
    pub(super) sealed: &'a [u8],
    pub(super) gap_s: Option<i32>,
    pub(super) per_day: Option<i32>,
}

/// Puts a mail into the queue; false when its address had too many of its kind.
pub(super) async fn enqueue(conn: &mut PgConnection, job: NewJob<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT core.enqueue_mail($1, $2, $3, $4, $5, $6) AS "queued!""#,
        job.id,
        job.kind,
        job.recipient_key,
        job.sealed,
        job.gap_s as _,
        job.per_day as _,
    )
    .fetch_one(conn)
    .await
}

/// A mail that was taken to be sent.
pub(super) struct Job {
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) sealed: Vec<u8>,
    /// Which try this is, from 1.
    pub(super) tries: i32,
    pub(super) created_at: DateTime<Utc>,
}

/// Takes the mail that is due first, for so many seconds.
pub(super) async fn take(
    db: impl PgExecutor<'_>,
    lease: Uuid,
    lease_s: i32,
    max_tries: i32,
) -> sqlx::Result<Option<Job>> {
    sqlx::query_as!(
        Job,
        r#"SELECT mail_job_id AS "id!", kind AS "kind!", sealed AS "sealed!", tries AS "tries!", created_at AS "created_at!"
             FROM core.take_mail($1, $2, $3)"#,
        lease,
        lease_s,
        max_tries,
    )
    .fetch_optional(db)
    .await
}

/// Notes that a mail was `sent`, is `dropped` or `dead`; false when the lease was over.
pub(super) async fn settle(
    db: impl PgExecutor<'_>,
    id: Uuid,
    lease: Uuid,
    state: &str,
    fault: Option<&str>,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT core.settle_mail($1, $2, $3, $4) AS "settled!""#,
        id,
        lease,
        state,
        fault as _
    )
    .fetch_one(db)
    .await
}

/// Notes that a try failed, and when the next is due; false when the lease was over.
pub(super) async fn defer(
    db: impl PgExecutor<'_>,
    id: Uuid,
    lease: Uuid,
    delay_ms: i64,
    fault: &str,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT core.defer_mail($1, $2, $3, $4) AS "deferred!""#,
        id,
        lease,
        delay_ms,
        fault
    )
    .fetch_one(db)
    .await
}

/// Who a mail is for.
pub(super) struct Reader {
    pub(super) full_name: String,
    pub(super) language: Option<String>,
    /// The address is verified: there is no ticket.
    pub(super) is_known: bool,
    /// Several have registered with it: the ticket sets the password.
    pub(super) is_contested: bool,
}

/// Gives a ticket to whoever has an address; None when there is nobody to give it to any more.
pub(super) async fn ticket_by_mail(
    db: impl PgExecutor<'_>,
    email: &str,
    (ticket, is_resent): (super::Ticket, bool),
    token_hash: &[u8],
    requested_at: DateTime<Utc>,
) -> sqlx::Result<Option<Reader>> {
    sqlx::query_as!(
        Reader,
        r#"SELECT full_name AS "full_name!", language, is_known AS "is_known!", is_contested AS "is_contested!"
             FROM core.ticket_by_mail($1, $2, $3, $4, $5, $6)"#,
        email,
        ticket.kind,
        is_resent,
        token_hash,
        requested_at,
        ticket.lifetime_s,
    )
    .fetch_optional(db)
    .await
}

/// The user a mail is for; None when he is gone.
pub(super) async fn addressee(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<Option<Reader>> {
    sqlx::query_as!(
        Reader,
        r#"SELECT full_name AS "full_name!", language, false AS "is_known!", false AS "is_contested!"
             FROM core.mail_addressee($1)"#,
        user_id,
    )
    .fetch_optional(db)
    .await
}

/// How the queue stands.
pub(super) struct Backlog {
    pub(super) waiting: i64,
    pub(super) oldest_s: i64,
    pub(super) dead: i64,
}

pub(super) async fn backlog(db: impl PgExecutor<'_>) -> sqlx::Result<Backlog> {
    sqlx::query_as!(
        Backlog,
        r#"SELECT waiting AS "waiting!", oldest_s AS "oldest_s!", dead AS "dead!" FROM core.mail_backlog()"#
    )
    .fetch_one(db)
    .await
}

/// Removes old rows of the queue, at most `limit`; returns how many went.
pub(super) async fn purge_jobs(db: impl PgExecutor<'_>, limit: i32) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"SELECT core.purge_mail($1) AS "count!""#, limit)
        .fetch_one(db)
        .await
}

/// Removes tickets that are over, at most `limit`; returns how many went.
pub(super) async fn purge_tickets(db: impl PgExecutor<'_>, limit: i32) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"SELECT core.purge_tickets($1) AS "count!""#, limit)
        .fetch_one(db)
        .await
}
