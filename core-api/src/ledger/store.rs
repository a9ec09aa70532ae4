//! The posting statement.

use sqlx::PgExecutor;

use super::batch::{Columns, RefusalTexts};

/// What became of one movement of a batch. The codes are explained with the function, in the migrations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) code: i16,
    pub(super) status: Option<i16>,
    pub(super) body: Option<Vec<u8>>,
}

/// Commits a batch in one autocommit statement; verdicts come in the order of the columns.
pub(super) async fn commit(
    db: impl PgExecutor<'_>,
    columns: &Columns,
    refusals: &RefusalTexts,
    ttl_s: i32,
) -> sqlx::Result<Vec<Verdict>> {
    sqlx::query_as!(
        Verdict,
        r#"SELECT code AS "code!", status, body
             FROM core.commit_movements($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
            ORDER BY item"#,
        &columns.session,
        &columns.user,
        &columns.tenant,
        &columns.entry,
        &columns.key,
        &columns.request_hash,
        &columns.kind,
        &columns.debit as _,
        &columns.credit as _,
        &columns.currency,
        &columns.amount,
        &columns.reference as _,
        &columns.booked_at,
        &columns.body,
        &columns.request_id,
        &refusals.status as _,
        &refusals.body as _,
        ttl_s,
    )
    .fetch_all(db)
    .await
}
