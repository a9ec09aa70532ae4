//! Queries of roll-outs. Each function is one statement; callers own the transaction, and hold the row of the fleet before
//! they change anything.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

/// A roll-out.
#[derive(Debug, Clone)]
pub(super) struct RolloutRow {
    pub(super) change_id: String,
    pub(super) kind: String,
    pub(super) content: Vec<u8>,
    pub(super) epoch: i64,
    pub(super) seq: i64,
    pub(super) old_epoch: Option<i64>,
    pub(super) old_seq: Option<i64>,
    pub(super) back_epoch: Option<i64>,
    pub(super) back_seq: Option<i64>,
    pub(super) author: String,
    pub(super) author_signed: bool,
    pub(super) approvers: Vec<String>,
    pub(super) risk: Option<String>,
    pub(super) phases: Vec<String>,
    pub(super) rules: Value,
    pub(super) phase: String,
    pub(super) phase_since: DateTime<Utc>,
    pub(super) watched_ms: i64,
    pub(super) watching_since: DateTime<Utc>,
    pub(super) looked_at: DateTime<Utc>,
    pub(super) before: Value,
    pub(super) why: Option<String>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) ended_at: Option<DateTime<Utc>>,
}

/// A roll-out that begins.
#[derive(Debug, Clone)]
pub(super) struct NewRollout<'a> {
    pub(super) change_id: &'a str,
    pub(super) kind: &'a str,
    pub(super) content: &'a [u8],
    pub(super) position: (i64, i64),
    pub(super) old: Option<(i64, i64)>,
    pub(super) author: &'a str,
    pub(super) author_signed: bool,
    pub(super) approvers: &'a [String],
    pub(super) risk: Option<&'a str>,
    pub(super) phases: &'a [String],
    pub(super) rules: Value,
    pub(super) phase: &'a str,
    pub(super) before: Value,
}

/// A gateway that takes policies of the control plane, beside what a roll-out knows of it.
#[derive(Debug, Clone)]
pub(super) struct GatewayRow {
    pub(super) name: String,
    pub(super) version: Option<String>,
    pub(super) boot_id: Option<String>,
    pub(super) traffic: Option<Value>,
    /// What it had served some minutes ago.
    pub(super) earlier: Option<Value>,
    pub(super) shadow: Option<Value>,
    pub(super) heard_at: Option<DateTime<Utc>>,
    pub(super) is_live: bool,
    /// Whether two processes speak as it.
    pub(super) is_twofold: bool,
    pub(super) stage: Option<String>,
    pub(super) stage_epoch: Option<i64>,
    pub(super) stage_seq: Option<i64>,
    pub(super) stage_shadow: bool,
    /// What is in its memory, and since when.
    pub(super) active_epoch: Option<i64>,
    pub(super) active_seq: Option<i64>,
    pub(super) active_at: Option<DateTime<Utc>>,
    pub(super) objection: Option<Value>,
    pub(super) in_group: Option<bool>,
    pub(super) healthy_ms: Option<i64>,
    pub(super) served: Option<Value>,
    pub(super) counted: Option<Value>,
    pub(super) counted_boot_id: Option<String>,
}

/// What gateways have served, column by column, one entry for each.
#[derive(Debug, Clone, Default)]
pub(super) struct ServedRows {
    pub(super) nodes: Vec<String>,
    pub(super) in_group: Vec<bool>,
    pub(super) healthy_ms: Vec<i64>,
    pub(super) served: Vec<Value>,
    pub(super) counted: Vec<Option<Value>>,
    pub(super) boot_ids: Vec<Option<String>>,
}

/// What a gateway has in memory, and what it should have.
#[derive(Debug, Clone)]
pub(super) struct MemoryRow {
    pub(super) node: String,
    pub(super) is_live: bool,
    /// Whether all of its policy is in force in one process that speaks: no listener waits, and no other process speaks as it.
    pub(super) is_whole: bool,
    pub(super) told_epoch: Option<i64>,
    pub(super) told_seq: Option<i64>,
    pub(super) active_epoch: Option<i64>,
    pub(super) active_seq: Option<i64>,
    pub(super) fingerprint: Option<String>,
    pub(super) stage: Option<String>,
    pub(super) stage_epoch: Option<i64>,
    pub(super) stage_seq: Option<i64>,
}

/// Locks the row of the fleet for the rest of the transaction: whoever has it may change roll-outs.
pub(super) async fn lock_fleet(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("SELECT epoch FROM control.fleet FOR UPDATE")
        .fetch_one(conn)
        .await?;
    Ok(())
}

/// The same, unless somebody else has it; whether it is ours.
pub(super) async fn try_lock_fleet(conn: &mut PgConnection) -> sqlx::Result<bool> {
    let row = sqlx::query!("SELECT epoch FROM control.fleet FOR UPDATE SKIP LOCKED")
        .fetch_optional(conn)
        .await?;
    Ok(row.is_some())
}

/// The database's time.
pub(super) async fn database_time(conn: &mut PgConnection) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#)
        .fetch_one(conn)
        .await
}

/// The position of the policy that is in force for all; none before the first.
pub(super) async fn in_force(conn: &mut PgConnection) -> sqlx::Result<Option<(i64, i64)>> {
    let row = sqlx::query!("SELECT policy_epoch, policy_seq FROM control.fleet")
        .fetch_one(conn)
        .await?;
    Ok(row.policy_epoch.zip(row.policy_seq))
}

/// Puts a policy in force for all.
pub(super) async fn put_in_force(conn: &mut PgConnection, (epoch, seq): (i64, i64)) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE control.fleet SET policy_epoch = $1, policy_seq = $2",
        epoch,
        seq
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The envelope of a policy.
pub(super) async fn envelope(
    conn: &mut PgConnection,
    (epoch, seq): (i64, i64),
) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar!(
        "SELECT envelope FROM control.statement WHERE stream = 'policy' AND epoch = $1 AND seq = $2",
        epoch,
        seq
    )
    .fetch_optional(conn)
    .await
}

/// Later and earlier statements of the policy that was stated at a position, the newest first.
pub(super) async fn same_policy(
    conn: &mut PgConnection,
    (epoch, seq): (i64, i64),
) -> sqlx::Result<Vec<(i64, i64)>> {
    let rows = sqlx::query!(
        r#"
        SELECT other.epoch, other.seq
          FROM control.statement one JOIN control.statement other USING (stream, content)
         WHERE stream = 'policy' AND (one.epoch, one.seq) = ($1, $2) AND (other.epoch, other.seq) <> ($1, $2)
         ORDER BY other.epoch DESC, other.seq DESC
        "#,
        epoch,
        seq
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.epoch, row.seq)).collect())
}

/// The roll-out of a change.
pub(super) async fn rollout(conn: &mut PgConnection, change_id: &str) -> sqlx::Result<Option<RolloutRow>> {
    sqlx::query_as!(
        RolloutRow,
        r#"
        SELECT change_id, kind, content, epoch, seq, old_epoch, old_seq, back_epoch, back_seq, author, author_signed, approvers, risk,
               phases, rules, phase, phase_since, watched_ms, watching_since, looked_at, before, why, created_at, ended_at
          FROM control.rollout WHERE change_id = $1
        "#,
        change_id
    )
    .fetch_optional(conn)
    .await
}

/// The newest roll-outs, newest first.
pub(super) async fn rollouts(conn: &mut PgConnection, most: i64) -> sqlx::Result<Vec<RolloutRow>> {
    sqlx::query_as!(
        RolloutRow,
        r#"
        SELECT change_id, kind, content, epoch, seq, old_epoch, old_seq, back_epoch, back_seq, author, author_signed, approvers, risk,
               phases, rules, phase, phase_since, watched_ms, watching_since, looked_at, before, why, created_at, ended_at
          FROM control.rollout ORDER BY created_at DESC, change_id LIMIT $1
        "#,
        most
    )
    .fetch_all(conn)
    .await
}

/// The roll-out that is not over.
pub(super) async fn under_way(conn: &mut PgConnection) -> sqlx::Result<Option<RolloutRow>> {
    sqlx::query_as!(
        RolloutRow,
        r#"
        SELECT change_id, kind, content, epoch, seq, old_epoch, old_seq, back_epoch, back_seq, author, author_signed, approvers, risk,
               phases, rules, phase, phase_since, watched_ms, watching_since, looked_at, before, why, created_at, ended_at
          FROM control.rollout WHERE phase NOT IN ('done', 'halted')
        "#
    )
    .fetch_optional(conn)
    .await
}

/// The policy before the one in force: that of the newest roll-out that was in force for all and has another content. Its
/// position, and the digest of its content.
pub(super) async fn previous(conn: &mut PgConnection) -> sqlx::Result<Option<((i64, i64), Vec<u8>)>> {
    let row = sqlx::query!(
        r#"
        WITH complete AS (SELECT epoch, seq, content, created_at FROM control.rollout WHERE phase = 'done')
        SELECT epoch, seq, content FROM complete
         WHERE content <> (SELECT content FROM complete ORDER BY created_at DESC LIMIT 1)
         ORDER BY created_at DESC LIMIT 1
        "#
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| ((row.epoch, row.seq), row.content)))
}

/// Writes a roll-out down.
pub(super) async fn insert(conn: &mut PgConnection, new: &NewRollout<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO control.rollout
               (change_id, kind, content, epoch, seq, old_epoch, old_seq, author, author_signed, approvers, risk, phases, rules,
                phase, before)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
        "#,
        new.change_id,
        new.kind,
        new.content,
        new.position.0,
        new.position.1,
        new.old.map(|old| old.0),
        new.old.map(|old| old.1),
        new.author,
        new.author_signed,
        new.approvers,
        new.risk,
        new.phases,
        new.rules,
        new.phase,
        new.before,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Begins a phase.
pub(super) async fn enter(
    conn: &mut PgConnection,
    change_id: &str,
    phase: &str,
    before: &Value,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        UPDATE control.rollout
           SET phase = $2, before = $3, watched_ms = 0, phase_since = clock_timestamp(), watching_since = clock_timestamp(),
               looked_at = clock_timestamp()
         WHERE change_id = $1
        "#,
        change_id,
        phase,
        before,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that the roll-out was looked at.
pub(super) async fn looked(
    conn: &mut PgConnection,
    change_id: &str,
    looked_at: DateTime<Utc>,
    watched_ms: i64,
    watching_since: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE control.rollout SET looked_at = $2, watched_ms = $3, watching_since = $4 WHERE change_id = $1",
        change_id,
        looked_at,
        watched_ms,
        watching_since,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The roll-out is complete.
pub(super) async fn complete(conn: &mut PgConnection, change_id: &str) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        UPDATE control.rollout
           SET phase = 'done', phase_since = clock_timestamp(), ended_at = clock_timestamp()
         WHERE change_id = $1
        "#,
        change_id
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The roll-out is given up.
pub(super) async fn halt(
    conn: &mut PgConnection,
    change_id: &str,
    why: &str,
    back: Option<(i64, i64)>,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        UPDATE control.rollout
           SET phase = 'halted', phase_since = clock_timestamp(), ended_at = clock_timestamp(), why = $2,
               back_epoch = $3, back_seq = $4
         WHERE change_id = $1
        "#,
        change_id,
        why,
        back.map(|back| back.0),
        back.map(|back| back.1),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Every gateway of the fleet that takes its policy from the control plane. One with a directory of its own tells what is in
/// its memory and no position.
pub(super) async fn gateways(conn: &mut PgConnection, change_id: &str) -> sqlx::Result<Vec<GatewayRow>> {
    sqlx::query_as!(
        GatewayRow,
        r#"
        SELECT node.name, node.version, node.boot_id, traffic, coalesce(earlier_reading, later_reading) AS earlier, shadow,
               node.last_heartbeat_at AS heard_at, live_node.name IS NOT NULL AND node_conflict.name IS NULL AS "is_live!",
               node_conflict.name IS NOT NULL AS "is_twofold!", stage AS "stage?", stage_epoch AS "stage_epoch?",
               stage_seq AS "stage_seq?", coalesce(stage_shadow, false) AS "stage_shadow!", active_epoch AS "active_epoch?", active_seq AS "active_seq?", active_at AS "active_at?", objection AS "objection?",
               in_group AS "in_group?", healthy_ms AS "healthy_ms?", served AS "served?", counted AS "counted?", rollout_node.boot_id AS "counted_boot_id?"
          FROM control.node
          LEFT JOIN control.live_node USING (name)
          LEFT JOIN control.node_conflict USING (name)
          LEFT JOIN control.node_stream ON node_stream.node = node.name AND stream = 'policy'
          LEFT JOIN control.rollout_node ON rollout_node.node = node.name AND change_id = $1
         WHERE evicted_at IS NULL AND (fingerprint IS NULL OR active_epoch IS NOT NULL)
         ORDER BY node.name
        "#,
        change_id
    )
    .fetch_all(conn)
    .await
}

/// Notes what gateways have served, and when they were healthy last.
pub(super) async fn note_served(
    conn: &mut PgConnection,
    change_id: &str,
    rows: &ServedRows,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO control.rollout_node (change_id, node, in_group, served, counted, boot_id, healthy_ms)
        SELECT $1, node, in_group, served, counted, boot_id, healthy_ms
          FROM unnest($2::text[], $3::boolean[], $4::jsonb[], $5::jsonb[], $6::text[], $7::bigint[])
               AS said (node, in_group, served, counted, boot_id, healthy_ms)
        ON CONFLICT (change_id, node) DO UPDATE
           SET in_group = excluded.in_group, served = excluded.served, counted = excluded.counted, boot_id = excluded.boot_id,
               healthy_ms = excluded.healthy_ms
        "#,
        change_id,
        &rows.nodes,
        &rows.in_group,
        &rows.served,
        &rows.counted as _,
        &rows.boot_ids as _,
        &rows.healthy_ms,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives a policy to gateways.
pub(super) async fn assign(
    conn: &mut PgConnection,
    nodes: &[String],
    (epoch, seq): (i64, i64),
    is_shadow: bool,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO control.node_stream AS known (node, stream, assigned_epoch, assigned_seq, assigned_shadow, assigned_at)
        SELECT node, 'policy', NULL, NULL, false, NULL FROM unnest($1::text[]) AS told (node)
        ON CONFLICT (node, stream) DO NOTHING
        "#,
        nodes
    )
    .execute(&mut *conn)
    .await?;
    // A statement of its own: an update is announced to those who stream to gateways.
    sqlx::query!(
        r#"
        UPDATE control.node_stream
           SET assigned_epoch = $2, assigned_seq = $3, assigned_shadow = $4, assigned_at = clock_timestamp()
         WHERE stream = 'policy' AND node = ANY ($1)
        "#,
        nodes,
        epoch,
        seq,
        is_shadow,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes back what single gateways were told: what is in force for all counts for them.
pub(super) async fn unassign_all(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        UPDATE control.node_stream
           SET assigned_epoch = NULL, assigned_seq = NULL, assigned_shadow = false, assigned_at = clock_timestamp()
         WHERE stream = 'policy' AND assigned_epoch IS NOT NULL
        "#
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What every gateway has in memory, beside what it should have.
pub(super) async fn memories(conn: &mut PgConnection) -> sqlx::Result<Vec<MemoryRow>> {
    sqlx::query_as!(
        MemoryRow,
        r#"
        SELECT node.name AS node, live_node.name IS NOT NULL AS "is_live!",
               waiting = '{}' AND node_conflict.name IS NULL AS "is_whole!", told.epoch AS "told_epoch?", told.seq AS "told_seq?",
               active_epoch AS "active_epoch?", active_seq AS "active_seq?",
               fingerprint AS "fingerprint?", stage AS "stage?", stage_epoch AS "stage_epoch?", stage_seq AS "stage_seq?"
          FROM control.node
         CROSS JOIN control.fleet
          LEFT JOIN control.live_node USING (name)
          LEFT JOIN control.node_conflict USING (name)
          LEFT JOIN control.node_stream ON node_stream.node = node.name AND node_stream.stream = 'policy'
          LEFT JOIN control.statement told
            ON told.stream = 'policy'
           AND (told.epoch, told.seq) = (CASE WHEN assigned_epoch IS NULL OR assigned_shadow THEN policy_epoch ELSE assigned_epoch END,
                                         CASE WHEN assigned_seq IS NULL OR assigned_shadow THEN policy_seq ELSE assigned_seq END)
         WHERE evicted_at IS NULL
         ORDER BY node.name
        "#
    )
    .fetch_all(conn)
    .await
}
