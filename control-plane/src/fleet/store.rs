//! Queries of the fleet: gateways, statements, trust. Each function is one statement; callers own the transaction.

use chrono::{DateTime, Utc};
use fleet::{Digest, Position, Stream};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;

use super::error::FleetError;
use crate::extract::Actor;

/// A statement that is the newest of its stream, or assigned.
#[derive(Debug, Clone)]
pub(super) struct HeadRow {
    pub(super) stream: String,
    pub(super) epoch: i64,
    pub(super) seq: i64,
    pub(super) digest: Vec<u8>,
    pub(super) bytes: i32,
}

/// What one gateway is told beside what all are told.
#[derive(Debug, Clone)]
pub(super) struct NodeRow {
    pub(super) name: String,
    pub(super) is_evicted: bool,
    pub(super) shadow: bool,
    pub(super) epoch: Option<i64>,
    pub(super) seq: Option<i64>,
    pub(super) digest: Option<Vec<u8>>,
    pub(super) bytes: Option<i32>,
}

/// A statement as operators see it.
#[derive(Debug, Clone)]
pub(super) struct StatementRow {
    pub(super) stream: String,
    pub(super) epoch: i64,
    pub(super) seq: i64,
    pub(super) digest: Vec<u8>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) expires_at: DateTime<Utc>,
}

/// A gateway as operators see it.
#[derive(Debug, Clone)]
pub(super) struct NodeRecord {
    pub(super) name: String,
    pub(super) version: Option<String>,
    pub(super) boot_id: Option<String>,
    pub(super) first_seen_at: DateTime<Utc>,
    pub(super) last_heartbeat_at: Option<DateTime<Utc>>,
    pub(super) clock_offset_ms: Option<i64>,
    pub(super) evicted_at: Option<DateTime<Utc>>,
    /// Sides of listeners that are not open as its policy says.
    pub(super) waiting: Vec<String>,
    /// Since when two processes speak as it.
    pub(super) conflict_since: Option<DateTime<Utc>>,
}

/// A process that speaks as a gateway, as operators see it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ProcessRow {
    #[serde(skip)]
    pub(super) node: String,
    boot_id: String,
    first_heard_at: DateTime<Utc>,
    last_heard_at: DateTime<Utc>,
}

/// What a heartbeat says of the process that sends it.
#[derive(Debug, Clone, Copy)]
pub(super) struct LifeRow<'a> {
    pub(super) version: &'a str,
    pub(super) boot_id: &'a str,
    /// Its clock, Unix milliseconds.
    pub(super) clock_unix_ms: i64,
    pub(super) waiting: &'a [String],
}

/// A stream of a gateway as operators see it.
#[derive(Debug, Clone)]
pub(super) struct StreamRow {
    pub(super) node: String,
    pub(super) stream: String,
    pub(super) assigned_epoch: Option<i64>,
    pub(super) assigned_seq: Option<i64>,
    pub(super) assigned_digest: Option<Vec<u8>>,
    pub(super) assigned_shadow: bool,
    pub(super) assigned_at: Option<DateTime<Utc>>,
    pub(super) active_epoch: Option<i64>,
    pub(super) active_seq: Option<i64>,
    pub(super) active_digest: Option<Vec<u8>>,
    pub(super) fingerprint: Option<String>,
    pub(super) active_at: Option<DateTime<Utc>>,
    pub(super) stage: Option<String>,
    pub(super) stage_epoch: Option<i64>,
    pub(super) stage_seq: Option<i64>,
    pub(super) stage_shadow: bool,
    pub(super) stage_at: Option<DateTime<Utc>>,
    pub(super) objection: Option<Value>,
}

/// How far a gateway says it is.
#[derive(Debug, Clone)]
pub(super) struct StageRow<'a> {
    pub(super) stage: &'a str,
    pub(super) epoch: i64,
    pub(super) seq: i64,
    pub(super) shadow: bool,
    pub(super) digest: &'a [u8],
    pub(super) objection: Option<Value>,
}

/// What is in force in a gateway, column by column, one entry for each stream.
#[derive(Debug, Clone, Default)]
pub(super) struct ActiveRows {
    pub(super) streams: Vec<String>,
    pub(super) followed: Vec<bool>,
    pub(super) epochs: Vec<Option<i64>>,
    pub(super) seqs: Vec<Option<i64>>,
    pub(super) digests: Vec<Option<Vec<u8>>>,
    pub(super) fingerprints: Vec<Option<String>>,
}

/// Where a stream stands, for whoever states what comes next.
#[derive(Debug, Clone)]
pub(super) struct Latest {
    /// The epoch of the database.
    pub(super) epoch: i64,
    /// Its time.
    pub(super) now: DateTime<Utc>,
    pub(super) statement: Option<LatestStatement>,
}

/// The newest statement of a stream, or the one in force.
#[derive(Debug, Clone)]
pub(super) struct LatestStatement {
    pub(super) epoch: i64,
    pub(super) seq: i64,
    pub(super) digest: Vec<u8>,
    pub(super) source_seq: i64,
    pub(super) keyid: String,
    pub(super) created_at: DateTime<Utc>,
    pub(super) expires_at: DateTime<Utc>,
}

/// A statement that is signed and not yet written down.
#[derive(Debug, Clone)]
pub(super) struct NewStatement {
    pub(super) stream: &'static str,
    pub(super) epoch: i64,
    pub(super) seq: i64,
    pub(super) digest: Digest,
    pub(super) source_seq: i64,
    pub(super) keyid: String,
    pub(super) envelope: Vec<u8>,
    pub(super) change_id: String,
    pub(super) author: String,
    pub(super) approvers: Vec<String>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) expires_at: DateTime<Utc>,
    /// The digest of the policy that it states.
    pub(super) policy: Option<Digest>,
}

/// A key of the bundle ring that may still sign.
#[derive(Debug, Clone)]
pub(super) struct BundleKeyRow {
    pub(super) public_key: Vec<u8>,
    pub(super) state: String,
    /// Of one that retires: until when it signs, Unix seconds.
    pub(super) sign_until: Option<i64>,
}

/// Who handed the trust document in force over.
#[derive(Debug, Clone)]
pub(super) struct TrustRecord {
    pub(super) author: String,
    pub(super) created_at: DateTime<Utc>,
}

impl HeadRow {
    /// The stream of the row.
    pub(super) fn stream(&self) -> Result<Stream, FleetError> {
        self.stream
            .parse()
            .map_err(|_| FleetError::Inconsistent(format!("a stream {}", self.stream)))
    }
}

/// The position in two columns.
pub(super) fn position(epoch: i64, seq: i64) -> Result<Position, FleetError> {
    match (u64::try_from(epoch), u64::try_from(seq)) {
        (Ok(epoch), Ok(seq)) => Ok(Position { epoch, seq }),
        _ => Err(FleetError::Inconsistent(format!("a position {epoch}.{seq}"))),
    }
}

/// The two columns of a position that a gateway has named.
pub(super) fn numbers(position: Position) -> Result<(i64, i64), FleetError> {
    match (i64::try_from(position.epoch), i64::try_from(position.seq)) {
        (Ok(epoch), Ok(seq)) => Ok((epoch, seq)),
        _ => Err(FleetError::Invalid("no stream ever stood at this position")),
    }
}

/// The digest in a column.
pub(super) fn digest(bytes: &[u8]) -> Result<Digest, FleetError> {
    <[u8; 32]>::try_from(bytes)
        .map(Digest::from)
        .map_err(|_| FleetError::Inconsistent("a digest of another length".to_owned()))
}

/// The database's time.
pub(super) async fn database_time(conn: &mut PgConnection) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#)
        .fetch_one(conn)
        .await
}

/// Writes down who did what to which part of the fleet.
pub(crate) async fn record(
    conn: &mut PgConnection,
    actor: &Actor,
    action: &str,
    subject: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO control.fleet_event (actor, action, subject, request_id) VALUES ($1, $2, $3, $4)",
        actor.name(),
        action,
        subject,
        actor.request_id(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes down a gateway that is new; whether it was evicted.
pub(super) async fn meet(conn: &mut PgConnection, name: &str) -> sqlx::Result<bool> {
    let is_evicted = sqlx::query_scalar!(
        r#"
        WITH met AS (INSERT INTO control.node (name) VALUES ($1) ON CONFLICT (name) DO NOTHING)
        SELECT evicted_at IS NOT NULL AS "is_evicted!" FROM control.node WHERE name = $1
        "#,
        name
    )
    .fetch_optional(conn)
    .await?;
    Ok(is_evicted.unwrap_or(false))
}

/// The newest statement of each stream that goes to everybody at once.
pub(super) async fn heads(conn: &mut PgConnection) -> sqlx::Result<Vec<HeadRow>> {
    sqlx::query_as!(
        HeadRow,
        r#"
        SELECT DISTINCT ON (stream) stream, epoch, seq, digest, octet_length(envelope) AS "bytes!"
          FROM control.statement
         WHERE stream <> 'policy'
         ORDER BY stream, epoch DESC, seq DESC
        "#
    )
    .fetch_all(conn)
    .await
}

/// The policy of gateways that no roll-out has assigned another one.
pub(super) async fn default_policy(conn: &mut PgConnection) -> sqlx::Result<Option<HeadRow>> {
    sqlx::query_as!(
        HeadRow,
        r#"
        SELECT stream, statement.epoch, seq, digest, octet_length(envelope) AS "bytes!"
          FROM control.fleet
          JOIN control.statement
            ON stream = 'policy' AND statement.epoch = policy_epoch AND seq = policy_seq
        "#
    )
    .fetch_optional(conn)
    .await
}

/// Every gateway, with the policy that a roll-out has assigned to it.
pub(super) async fn assigned(conn: &mut PgConnection) -> sqlx::Result<Vec<NodeRow>> {
    sqlx::query_as!(
        NodeRow,
        r#"
        SELECT node.name, evicted_at IS NOT NULL AS "is_evicted!", coalesce(assigned_shadow, false) AS "shadow!",
               statement.epoch AS "epoch?", seq AS "seq?", digest AS "digest?", octet_length(envelope) AS "bytes?"
          FROM control.node
          LEFT JOIN control.node_stream ON node_stream.node = node.name AND node_stream.stream = 'policy'
          LEFT JOIN control.statement
            ON statement.stream = 'policy' AND statement.epoch = assigned_epoch AND statement.seq = assigned_seq
        "#
    )
    .fetch_all(conn)
    .await
}

/// The bytes of a statement, or of a page that one names.
pub(super) async fn blob(conn: &mut PgConnection, digest: &[u8]) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar!(
        r#"
        SELECT envelope AS "bytes!" FROM control.statement WHERE digest = $1
         UNION ALL
        SELECT content FROM control.list_page WHERE digest = $1
         LIMIT 1
        "#,
        digest
    )
    .fetch_optional(conn)
    .await
}

/// Has the pages that are there already belong to another statement; their digests.
pub(super) async fn carry_pages(
    conn: &mut PgConnection,
    statement: &NewStatement,
    digests: &[Vec<u8>],
) -> sqlx::Result<Vec<Vec<u8>>> {
    sqlx::query_scalar!(
        "UPDATE control.list_page SET epoch = $2, seq = $3 WHERE stream = $1 AND digest = ANY($4) RETURNING digest",
        statement.stream,
        statement.epoch,
        statement.seq,
        digests,
    )
    .fetch_all(conn)
    .await
}

/// Writes a page down.
pub(super) async fn insert_page(
    conn: &mut PgConnection,
    statement: &NewStatement,
    digest: &[u8],
    content: &[u8],
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO control.list_page (stream, digest, content, epoch, seq) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (digest, stream) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq
         WHERE (list_page.epoch, list_page.seq) < (excluded.epoch, excluded.seq)
        "#,
        statement.stream,
        digest,
        content,
        statement.epoch,
        statement.seq,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether a stream stood at this position with this digest; none when that is so old that nobody knows.
pub(super) async fn knows(
    conn: &mut PgConnection,
    stream: &str,
    epoch: i64,
    seq: i64,
    digest: &[u8],
) -> sqlx::Result<Option<bool>> {
    sqlx::query_scalar!(
        r#"
        SELECT CASE WHEN EXISTS (SELECT FROM control.statement
                                  WHERE stream = $1 AND statement.epoch = $2 AND seq = $3 AND digest = $4) THEN true
                    WHEN EXISTS (SELECT FROM control.statement
                                  WHERE stream = $1 AND statement.epoch = $2 AND seq = $3) THEN false
                    WHEN EXISTS (SELECT FROM control.statement
                                  WHERE stream = $1 AND (statement.epoch, seq) > ($2, $3)) THEN NULL
                    ELSE false END AS "knows?"
        "#,
        stream,
        epoch,
        seq,
        digest,
    )
    .fetch_one(conn)
    .await
}

/// Notes how far a gateway is with a statement, unless it said something newer before. A refusal counts whenever it comes;
/// only `active` and `healthy` lift it, for the same statement.
pub(super) async fn note_stage(
    conn: &mut PgConnection,
    node: &str,
    stream: &str,
    row: &StageRow<'_>,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO control.node_stream AS known
               (node, stream, stage, stage_epoch, stage_seq, stage_shadow, stage_at, objection,
                active_epoch, active_seq, active_digest, active_at)
        SELECT $1, $2, stage, epoch, seq, shadow, clock_timestamp(), $8,
               CASE WHEN is_active THEN epoch END, CASE WHEN is_active THEN seq END, CASE WHEN is_active THEN $7::bytea END,
               CASE WHEN is_active THEN clock_timestamp() END
          FROM (VALUES ($3::text, $4::bigint, $5::bigint, $6::boolean)) AS said (stage, epoch, seq, shadow),
               LATERAL (SELECT stage IN ('active', 'healthy') AND NOT shadow AS is_active) AS judged
        ON CONFLICT (node, stream) DO UPDATE
           SET stage = excluded.stage, stage_epoch = excluded.stage_epoch, stage_seq = excluded.stage_seq,
               stage_shadow = excluded.stage_shadow, stage_at = excluded.stage_at, objection = excluded.objection,
               fingerprint = CASE WHEN excluded.active_digest <> known.active_digest THEN NULL ELSE known.fingerprint END,
               active_at = CASE WHEN excluded.active_digest IS DISTINCT FROM known.active_digest
                                THEN coalesce(excluded.active_at, known.active_at) ELSE known.active_at END,
               active_epoch = coalesce(excluded.active_epoch, known.active_epoch),
               active_seq = coalesce(excluded.active_seq, known.active_seq),
               active_digest = coalesce(excluded.active_digest, known.active_digest)
         WHERE known.stage IS NULL
            OR (excluded.stage_epoch, excluded.stage_seq) > (known.stage_epoch, known.stage_seq)
            OR ((excluded.stage_epoch, excluded.stage_seq) = (known.stage_epoch, known.stage_seq)
                AND (known.stage_shadow AND NOT excluded.stage_shadow
                     OR known.stage_shadow = excluded.stage_shadow AND excluded.stage <> known.stage
                        AND (excluded.stage = 'refused'
                             OR array_position(ARRAY['received', 'verified', 'refused', 'active', 'healthy'], excluded.stage)
                              > array_position(ARRAY['received', 'verified', 'refused', 'active', 'healthy'], known.stage))))
        "#,
        node,
        stream,
        row.stage,
        row.epoch,
        row.seq,
        row.shadow,
        row.digest,
        row.objection,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that a gateway lives.
pub(super) async fn note_life(conn: &mut PgConnection, node: &str, life: LifeRow<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        UPDATE control.node
           SET version = $2, boot_id = $3, last_heartbeat_at = clock_timestamp(), waiting = $5,
               clock_offset_ms = least(greatest($4::bigint - floor(extract(epoch FROM clock_timestamp()) * 1000), -9e15), 9e15)
         WHERE name = $1
        "#,
        node,
        life.version,
        life.boot_id,
        life.clock_unix_ms,
        life.waiting,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that a process speaks as a gateway, and which key set it holds. Those that fell silent are forgotten, and of very many
/// the oldest: a name has one process at a time, and two while somebody makes a mistake.
pub(super) async fn note_process(
    conn: &mut PgConnection,
    node: &str,
    boot_id: &str,
    keyset: Option<(i64, i64)>,
    follows_keyset: bool,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        WITH forgotten AS (
            DELETE FROM control.node_process
             WHERE node = $1 AND boot_id <> $2
               AND (last_heard_at < clock_timestamp() - interval '1 minute'
                    OR boot_id IN (SELECT boot_id FROM control.node_process WHERE node = $1 ORDER BY last_heard_at DESC OFFSET 7)))
        INSERT INTO control.node_process AS known (node, boot_id, keyset_epoch, keyset_seq, follows_keyset)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (node, boot_id) DO UPDATE
           SET last_heard_at = clock_timestamp(), keyset_epoch = excluded.keyset_epoch, keyset_seq = excluded.keyset_seq,
               follows_keyset = excluded.follows_keyset
        "#,
        node,
        boot_id,
        keyset.map(|(epoch, _)| epoch),
        keyset.map(|(_, seq)| seq),
        follows_keyset,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that a process has a key set in force, before its next heartbeat says so.
pub(super) async fn note_keyset(
    conn: &mut PgConnection,
    node: &str,
    boot_id: &str,
    (epoch, seq): (i64, i64),
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        UPDATE control.node_process SET keyset_epoch = $3, keyset_seq = $4
         WHERE node = $1 AND boot_id = $2 AND (keyset_epoch IS NULL OR (keyset_epoch, keyset_seq) < ($3, $4))
        "#,
        node,
        boot_id,
        epoch,
        seq,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Keeps the counters of a gateway as they came, and what they were five to fifteen minutes ago.
pub(super) async fn note_traffic(
    conn: &mut PgConnection,
    node: &str,
    traffic: &Value,
    shadow: Option<&Value>,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        UPDATE control.node
           SET traffic = $2, shadow = $3,
               earlier_reading = CASE WHEN later_reading_at < now() - interval '15 minutes' THEN NULL
                                      WHEN later_reading_at < now() - interval '5 minutes' THEN later_reading
                                      ELSE earlier_reading END,
               later_reading = CASE WHEN later_reading_at >= now() - interval '5 minutes' THEN later_reading
                                    ELSE jsonb_build_object('boot_id', boot_id, 'traffic', $2::jsonb) END,
               later_reading_at = CASE WHEN later_reading_at >= now() - interval '5 minutes' THEN later_reading_at ELSE now() END
         WHERE name = $1
        "#,
        node,
        traffic,
        shadow,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes what is in force in a gateway, where that has changed.
pub(super) async fn note_active(conn: &mut PgConnection, node: &str, rows: &ActiveRows) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO control.node_stream AS known
               (node, stream, active_epoch, active_seq, active_digest, fingerprint, is_followed, active_at)
        SELECT $1, stream, epoch, seq, digest, fingerprint, is_followed, clock_timestamp()
          FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bytea[], $6::text[], $7::boolean[])
               AS said (stream, epoch, seq, digest, fingerprint, is_followed)
        ON CONFLICT (node, stream) DO UPDATE
           SET is_followed = excluded.is_followed, active_epoch = excluded.active_epoch, active_seq = excluded.active_seq,
               active_digest = excluded.active_digest, fingerprint = excluded.fingerprint,
               active_at = CASE WHEN excluded.active_digest IS DISTINCT FROM known.active_digest
                                THEN excluded.active_at ELSE known.active_at END
         WHERE (excluded.active_epoch, excluded.active_seq, excluded.active_digest, excluded.fingerprint, excluded.is_followed)
               IS DISTINCT FROM (known.active_epoch, known.active_seq, known.active_digest, known.fingerprint, known.is_followed)
        "#,
        node,
        &rows.streams,
        &rows.epochs as _,
        &rows.seqs as _,
        &rows.digests as _,
        &rows.fingerprints as _,
        &rows.followed,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The version of the trust document in force.
pub(super) async fn trust_version(conn: &mut PgConnection) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!("SELECT max(version) FROM control.trust")
        .fetch_one(conn)
        .await
}

/// The bytes of the trust document in force.
pub(super) async fn trust(conn: &mut PgConnection) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar!("SELECT envelope FROM control.trust ORDER BY version DESC LIMIT 1")
        .fetch_optional(conn)
        .await
}

/// The bytes of the trust documents, the newest first; those of years.
pub(super) async fn trust_documents(conn: &mut PgConnection) -> sqlx::Result<Vec<Vec<u8>>> {
    sqlx::query_scalar!("SELECT envelope FROM control.trust ORDER BY version DESC LIMIT 64")
        .fetch_all(conn)
        .await
}

/// The keys of the bundle ring that were revoked.
pub(super) async fn revoked_bundle_keys(conn: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!("SELECT kid FROM control.signing_key WHERE ring = 'bundle' AND state = 'revoked'")
        .fetch_all(conn)
        .await
}

/// Keys of the bundle ring that sign no more, and never will again.
pub(super) async fn former_bundle_keys(conn: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        "SELECT kid FROM control.signing_key WHERE ring = 'bundle' AND state IN ('retired', 'revoked', 'aborted')"
    )
    .fetch_all(conn)
    .await
}

/// Who handed the trust document in force over, and when.
pub(super) async fn trust_record(conn: &mut PgConnection) -> sqlx::Result<Option<TrustRecord>> {
    sqlx::query_as!(
        TrustRecord,
        "SELECT author, created_at FROM control.trust ORDER BY version DESC LIMIT 1"
    )
    .fetch_optional(conn)
    .await
}

/// Puts a trust document into force.
pub(super) async fn insert_trust(
    conn: &mut PgConnection,
    version: i64,
    envelope: &[u8],
    author: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO control.trust (version, envelope, author) VALUES ($1, $2, $3)",
        version,
        envelope,
        author,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The keys of the bundle ring that sign, will sign next, or have signed what may still be in force.
pub(super) async fn bundle_keys(conn: &mut PgConnection) -> sqlx::Result<Vec<BundleKeyRow>> {
    sqlx::query_as!(
        BundleKeyRow,
        r#"
        SELECT public_key, state, ceil(extract(epoch FROM sign_until))::bigint AS "sign_until?" FROM control.signing_key
         WHERE ring = 'bundle' AND algorithm = 'EdDSA' AND state IN ('published', 'active', 'retiring')
         ORDER BY created_at
        "#
    )
    .fetch_all(conn)
    .await
}

/// The `seq` of the ring or list that a stream follows; 0 before there is one.
pub(super) async fn source_seq(conn: &mut PgConnection, stream: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"
        SELECT coalesce(CASE WHEN $1 = 'keyset' THEN (SELECT seq FROM control.key_ring WHERE ring = 'access')
                             ELSE (SELECT seq FROM control.denial_list WHERE list = $1) END, 0) AS "seq!"
        "#,
        stream
    )
    .fetch_one(conn)
    .await
}

/// Where a stream stands.
pub(super) async fn latest(conn: &mut PgConnection, stream: &str) -> sqlx::Result<Latest> {
    let statement = sqlx::query_as!(
        LatestStatement,
        r#"
        SELECT epoch, seq, digest, source_seq, keyid, created_at, expires_at
          FROM control.statement
         WHERE stream = $1
         ORDER BY epoch DESC, seq DESC
         LIMIT 1
        "#,
        stream
    )
    .fetch_optional(&mut *conn)
    .await?;
    with_statement(conn, statement).await
}

/// Where a stream stands for those who have its statement at this position in force.
pub(super) async fn standing_at(
    conn: &mut PgConnection,
    stream: &str,
    (of_epoch, seq): (i64, i64),
) -> sqlx::Result<Latest> {
    let statement = sqlx::query_as!(
        LatestStatement,
        r#"
        SELECT epoch, seq, digest, source_seq, keyid, created_at, expires_at
          FROM control.statement
         WHERE stream = $1 AND epoch = $2 AND seq = $3
        "#,
        stream,
        of_epoch,
        seq,
    )
    .fetch_optional(&mut *conn)
    .await?;
    with_statement(conn, statement).await
}

async fn with_statement(conn: &mut PgConnection, statement: Option<LatestStatement>) -> sqlx::Result<Latest> {
    Ok(Latest {
        epoch: epoch(conn).await?,
        now: database_time(conn).await?,
        statement,
    })
}

/// The epoch of the fleet.
pub(super) async fn epoch(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!("SELECT epoch FROM control.fleet")
        .fetch_one(conn)
        .await
}

/// Begins the next epoch, beyond every one that a statement has.
pub(super) async fn raise_epoch(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"
        UPDATE control.fleet
           SET epoch = greatest(epoch, (SELECT max(statement.epoch) FROM control.statement)) + 1
        RETURNING epoch
        "#
    )
    .fetch_one(conn)
    .await
}

/// Writes a statement down; false when its position was given already, or one behind it: whoever signed and then stood still
/// says what is over, and would take pages away from the newest. Two control planes that state the same within one second
/// write the same bytes, so whichever constraint is the first to see it must not be an error.
pub(super) async fn insert_statement(conn: &mut PgConnection, new: &NewStatement) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        r#"
        INSERT INTO control.statement
               (stream, epoch, seq, digest, source_seq, keyid, envelope, change_id, author, approvers, created_at, expires_at, content)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13
         WHERE NOT EXISTS (SELECT FROM control.statement newer WHERE newer.stream = $1 AND (newer.epoch, newer.seq) > ($2, $3))
        ON CONFLICT DO NOTHING
        "#,
        new.stream,
        new.epoch,
        new.seq,
        new.digest.as_bytes().as_slice(),
        new.source_seq,
        new.keyid,
        new.envelope,
        new.change_id,
        new.author,
        &new.approvers,
        new.created_at,
        new.expires_at,
        new.policy.map(|policy| policy.as_bytes().to_vec()),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Takes away statements of lists and key sets that were replaced two minutes ago: nobody fetches them any more, and a full list has
/// megabytes, five times a second while somebody revokes without end.
pub(super) async fn prune(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        DELETE FROM control.statement
         WHERE stream <> 'policy'
           AND EXISTS (SELECT FROM control.statement newer
                        WHERE newer.stream = statement.stream
                          AND (newer.epoch, newer.seq) > (statement.epoch, statement.seq)
                          AND newer.created_at < clock_timestamp() - interval '2 minutes')
        "#
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The newest statement of each stream; of policies, the one of gateways that no roll-out has assigned another.
pub(super) async fn newest(conn: &mut PgConnection) -> sqlx::Result<Vec<StatementRow>> {
    sqlx::query_as!(
        StatementRow,
        r#"
        SELECT DISTINCT ON (stream) stream, statement.epoch, seq, digest, created_at, expires_at
          FROM control.statement
          JOIN control.fleet ON stream <> 'policy' OR (statement.epoch, seq) = (policy_epoch, policy_seq)
         ORDER BY stream, statement.epoch DESC, seq DESC
        "#
    )
    .fetch_all(conn)
    .await
}

/// Every gateway.
pub(super) async fn nodes(conn: &mut PgConnection) -> sqlx::Result<Vec<NodeRecord>> {
    sqlx::query_as!(
        NodeRecord,
        r#"
        SELECT name, version, boot_id, first_seen_at, last_heartbeat_at, clock_offset_ms, evicted_at, waiting,
               since AS "conflict_since?"
          FROM control.node
          LEFT JOIN control.node_conflict USING (name)
         ORDER BY name
        "#
    )
    .fetch_all(conn)
    .await
}

/// The processes that may live of every gateway, in the order in which they began to speak.
pub(super) async fn processes(conn: &mut PgConnection) -> sqlx::Result<Vec<ProcessRow>> {
    sqlx::query_as!(
        ProcessRow,
        r#"
        SELECT node AS "node!", boot_id AS "boot_id!", first_heard_at AS "first_heard_at!", last_heard_at AS "last_heard_at!"
          FROM control.live_process
         ORDER BY node, first_heard_at
        "#
    )
    .fetch_all(conn)
    .await
}

/// Every stream of every gateway.
pub(super) async fn node_streams(conn: &mut PgConnection) -> sqlx::Result<Vec<StreamRow>> {
    sqlx::query_as!(
        StreamRow,
        r#"
        SELECT node, node_stream.stream, assigned_epoch, assigned_seq, digest AS "assigned_digest?", assigned_shadow,
               assigned_at, active_epoch, active_seq, active_digest, fingerprint, active_at, stage, stage_epoch, stage_seq,
               stage_shadow, stage_at, objection
          FROM control.node_stream
          LEFT JOIN control.statement
            ON statement.stream = node_stream.stream AND statement.epoch = assigned_epoch AND seq = assigned_seq
        "#
    )
    .fetch_all(conn)
    .await
}

/// Lets a gateway out or in; whether that changed anything, none when there is no such gateway.
pub(super) async fn set_evicted(
    conn: &mut PgConnection,
    name: &str,
    is_evicted: bool,
) -> sqlx::Result<Option<bool>> {
    sqlx::query_scalar!(
        r#"
        WITH before AS (SELECT evicted_at FROM control.node WHERE name = $1 FOR UPDATE),
             changed AS (UPDATE control.node SET evicted_at = CASE WHEN $2 THEN clock_timestamp() END
                          WHERE name = $1 AND (evicted_at IS NOT NULL) <> $2
                         RETURNING name)
        SELECT EXISTS (SELECT FROM changed) AS "changed!" FROM before
        "#,
        name,
        is_evicted,
    )
    .fetch_optional(conn)
    .await
}
