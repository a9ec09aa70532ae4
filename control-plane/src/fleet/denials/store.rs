//! Queries of the two lists. Each function is one statement; callers own the transaction.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// Where the lists stand.
#[derive(Debug, Clone)]
pub(super) struct Seqs {
    pub(super) epoch: i64,
    pub(super) revocations: i64,
    pub(super) blocks: i64,
}

/// A revocation as gateways need it; times in Unix seconds.
#[derive(Debug, Clone)]
pub(super) struct RevocationRow {
    pub(super) kind: String,
    pub(super) issuer: String,
    pub(super) name: String,
    pub(super) issued_until: Option<i64>,
    pub(super) until: i64,
}

/// A block as gateways need it; times in Unix seconds.
#[derive(Debug, Clone)]
pub(super) struct BlockRow {
    pub(super) network: String,
    pub(super) scope: String,
    pub(super) until: i64,
}

/// A revocation as operators see it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) revocation_id: i64,
    pub(super) kind: String,
    pub(super) issuer: String,
    pub(super) name: String,
    pub(super) issued_until: Option<DateTime<Utc>>,
    pub(super) until: DateTime<Utc>,
    pub(super) reason: String,
    pub(super) author: String,
    pub(super) created_at: DateTime<Utc>,
}

/// A block as operators see it.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) network: String,
    pub(super) scope: String,
    pub(super) until: DateTime<Utc>,
    pub(super) reason: String,
    pub(super) author: String,
    pub(super) created_at: DateTime<Utc>,
}

/// A revocation to write down.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewRow<'a> {
    pub(super) kind: &'a str,
    pub(super) issuer: &'a str,
    pub(super) name: &'a str,
    pub(super) reason: &'a str,
    pub(super) author: &'a str,
}

/// Where both lists stand.
pub(super) async fn seqs(conn: &mut PgConnection) -> sqlx::Result<Seqs> {
    sqlx::query_as!(
        Seqs,
        r#"
        SELECT epoch, revocations.seq AS revocations, blocks.seq AS blocks
          FROM control.fleet
          JOIN control.denial_list revocations ON revocations.list = 'revocations'
          JOIN control.denial_list blocks ON blocks.list = 'blocks'
        "#
    )
    .fetch_one(conn)
    .await
}

/// Every revocation that still means something. A part of a second at the end is rounded up: nothing ends too early.
pub(super) async fn revocations(conn: &mut PgConnection) -> sqlx::Result<Vec<RevocationRow>> {
    sqlx::query_as!(
        RevocationRow,
        r#"
        SELECT kind, issuer, name, floor(extract(epoch FROM issued_until))::bigint AS issued_until,
               ceil(extract(epoch FROM until))::bigint AS "until!"
          FROM control.revocation
         ORDER BY revocation_id
        "#
    )
    .fetch_all(conn)
    .await
}

/// Every block; new ones come last, which changes the fewest pages.
pub(super) async fn blocks(conn: &mut PgConnection) -> sqlx::Result<Vec<BlockRow>> {
    sqlx::query_as!(
        BlockRow,
        r#"
        SELECT network::text AS "network!", scope, ceil(extract(epoch FROM until))::bigint AS "until!"
          FROM control.block
         ORDER BY created_at, network
        "#
    )
    .fetch_all(conn)
    .await
}

/// Revokes, until `for_s` from now. Gives the id of the entry.
pub(super) async fn revoke(
    conn: &mut PgConnection,
    row: &NewRow<'_>,
    issued_until: Option<DateTime<Utc>>,
    for_s: i64,
) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"
        SELECT control.revoke($1, $2, $3, $4, clock_timestamp() + $5::bigint * interval '1 second', $6, $7) AS "id!"
        "#,
        row.kind,
        row.issuer,
        row.name,
        issued_until,
        for_s,
        row.reason,
        row.author,
    )
    .fetch_one(conn)
    .await
}

/// Takes a revocation back. Gives what it was about.
pub(super) async fn remove_revocation(conn: &mut PgConnection, id: i64) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        r#"
        DELETE FROM control.revocation WHERE revocation_id = $1
        RETURNING kind || ' ' || name || ' of ' || issuer AS "subject!"
        "#,
        id,
    )
    .fetch_optional(conn)
    .await
}

/// Everything that is revoked, the newest first.
pub(super) async fn entries(conn: &mut PgConnection) -> sqlx::Result<Vec<Entry>> {
    sqlx::query_as!(
        Entry,
        r#"
        SELECT revocation_id, kind, issuer, name, issued_until, until, reason, author, created_at
          FROM control.revocation
         ORDER BY revocation_id DESC
        "#
    )
    .fetch_all(conn)
    .await
}

/// Blocks a network until `for_s` from now, or gives its block another end.
pub(super) async fn block(
    conn: &mut PgConnection,
    network: &str,
    for_s: i64,
    reason: &str,
    author: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO control.block (network, until, reason, author)
        VALUES ($1::text::cidr, clock_timestamp() + $2::bigint * interval '1 second', $3, $4)
        ON CONFLICT (network) DO UPDATE
           SET until = excluded.until, reason = excluded.reason, author = excluded.author, scope = 'all'
        "#,
        network,
        for_s,
        reason,
        author,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes a block back; whether there was one.
pub(super) async fn unblock(conn: &mut PgConnection, network: &str) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM control.block WHERE network = $1::text::cidr",
        network
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Everything that is blocked, the newest first.
pub(super) async fn block_entries(conn: &mut PgConnection) -> sqlx::Result<Vec<Block>> {
    sqlx::query_as!(
        Block,
        r#"
        SELECT network::text AS "network!", scope, until, reason, author, created_at
          FROM control.block
         ORDER BY created_at DESC, network
        "#
    )
    .fetch_all(conn)
    .await
}

/// Takes away revocations that ended `after_s` ago.
pub(super) async fn sweep_revocations(conn: &mut PgConnection, after_s: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM control.revocation WHERE until + $1::bigint * interval '1 second' < clock_timestamp()",
        after_s
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes away blocks that ended `after_s` ago.
pub(super) async fn sweep_blocks(conn: &mut PgConnection, after_s: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM control.block WHERE until + $1::bigint * interval '1 second' < clock_timestamp()",
        after_s
    )
    .execute(conn)
    .await?;
    Ok(())
}
