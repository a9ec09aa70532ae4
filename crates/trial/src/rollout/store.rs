//! What the harness reads from the database, where it makes a step of a roll-out stand still, and what a thief writes there.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Row as _};

use crate::rotation::store::{SealedRow, WAIT};

/// Makes places at which a step of a roll-out waits while somebody holds the place's lock: nothing of the binary is changed
/// for it. See [`super::kill::Step`] for the numbers.
pub(super) async fn install_failpoints(superuser: &mut PgConnection) -> sqlx::Result<()> {
    superuser.execute(sqlx::raw_sql(WAIT)).await?;
    let statements = r"
        CREATE TRIGGER trial_stated AFTER INSERT ON control.statement FOR EACH ROW
            WHEN (NEW.stream = 'policy') EXECUTE FUNCTION trial.wait('7401');
        CREATE TRIGGER trial_begun AFTER INSERT ON control.rollout FOR EACH ROW EXECUTE FUNCTION trial.wait('7402');
        CREATE TRIGGER trial_entered AFTER UPDATE ON control.rollout FOR EACH ROW
            WHEN (NEW.phase <> OLD.phase) EXECUTE FUNCTION trial.wait('7402');
        CREATE TRIGGER trial_told AFTER UPDATE ON control.node_stream FOR EACH ROW
            WHEN (NEW.assigned_at IS DISTINCT FROM OLD.assigned_at) EXECUTE FUNCTION trial.wait('7403');
        CREATE TRIGGER trial_recorded AFTER INSERT ON control.fleet_event FOR EACH ROW
            WHEN (NEW.action LIKE 'policy.%') EXECUTE FUNCTION trial.wait('7404');
        CREATE CONSTRAINT TRIGGER trial_committing AFTER INSERT ON control.fleet_event DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
            WHEN (NEW.action LIKE 'policy.%') EXECUTE FUNCTION trial.wait('7405');";
    superuser.execute(sqlx::raw_sql(statements)).await.map(drop)
}

/// Fills both lists with what nobody has, up to their bounds by count and by size, but for as many entries as are wanted. Gives
/// how many revocations there are then, and how many blocks.
pub(super) async fn fill_lists(superuser: &mut PgConnection, room: usize) -> sqlx::Result<(i64, i64)> {
    let fill = format!(
        r"
        INSERT INTO control.revocation (kind, issuer, name, until, reason, author)
        SELECT 'token', rpad('https://issuer.example/', 40, 'x'), lpad(number::text, longest, 'n'),
               clock_timestamp() + interval '366 days', '', 'drill'
          FROM (SELECT most_entries - entries - {room} AS wanted,
                       ((most_bytes - bytes - {room} * 512) / (most_entries - entries - {room}) - 160)::integer AS longest
                  FROM control.denial_list WHERE list = 'revocations') list, generate_series(1, wanted) number;
        INSERT INTO control.block (network, until, reason, author)
        SELECT ('2001:db8:ffff:ffff:ffff:ffff:ffff:' || to_hex(number))::cidr, clock_timestamp() + interval '366 days', '', 'drill'
          FROM (SELECT most_entries - entries - {room} AS wanted FROM control.denial_list WHERE list = 'blocks') list,
               generate_series(1, wanted) number;"
    );
    superuser.execute(sqlx::raw_sql(AssertSqlSafe(fill))).await?;
    let entries = "SELECT (SELECT count(*) FROM control.revocation), (SELECT count(*) FROM control.block)";
    let row = superuser.fetch_one(entries).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Takes away what [`fill_lists`] has put there.
pub(super) async fn empty_lists(superuser: &mut PgConnection) -> sqlx::Result<()> {
    let empty = "DELETE FROM control.revocation WHERE author = 'drill'; DELETE FROM control.block WHERE author = 'drill';";
    superuser.execute(sqlx::raw_sql(empty)).await.map(drop)
}

/// The size of what is stated of the revocations with its pages, bytes.
pub(super) async fn revocations_bytes(superuser: &mut PgConnection) -> sqlx::Result<i64> {
    let size = "SELECT octet_length(envelope)
                       + coalesce((SELECT sum(octet_length(content)) FROM control.list_page WHERE stream = 'revocations'), 0)
                  FROM control.statement WHERE stream = 'revocations' ORDER BY epoch DESC, seq DESC LIMIT 1";
    superuser.fetch_one(size).await?.try_get(0)
}

/// The phase of the newest roll-out, and how many statements of the policy there are.
pub(super) async fn stands(superuser: &mut PgConnection) -> sqlx::Result<(String, i64)> {
    let row = sqlx::query!(
        r#"
        SELECT phase, (SELECT count(*) FROM control.statement WHERE stream = 'policy') AS "statements!"
          FROM control.rollout ORDER BY created_at DESC LIMIT 1
        "#
    )
    .fetch_one(superuser)
    .await?;
    Ok((row.phase, row.statements))
}

/// The gateways that have the policy of the newest roll-out.
pub(super) async fn holders(superuser: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"
        SELECT node FROM control.rollout_node
         WHERE in_group AND change_id = (SELECT change_id FROM control.rollout ORDER BY created_at DESC LIMIT 1)
         ORDER BY node
        "#
    )
    .fetch_all(superuser)
    .await
}

/// When each gateway said that what it has of a stream is in force, by the database's clock, which is that of this machine.
pub(super) async fn active_at(
    superuser: &mut PgConnection,
    stream: &str,
) -> sqlx::Result<Vec<DateTime<Utc>>> {
    sqlx::query_scalar!(
        r#"SELECT active_at AS "at!" FROM control.node_stream WHERE stream = $1 AND active_at IS NOT NULL"#,
        stream
    )
    .fetch_all(superuser)
    .await
}

/// The key of a ring that signs, with its sealed private part, which only the superuser may see.
pub(super) async fn signing_key(superuser: &mut PgConnection, ring: &str) -> sqlx::Result<SealedRow> {
    sqlx::query_as!(
        SealedRow,
        r#"
        SELECT kid, algorithm, kek_version, sealed_private_key AS "ciphertext!", wrapped_data_key
          FROM control.signing_key
         WHERE ring = $1 AND state = 'active'
        "#,
        ring
    )
    .fetch_one(superuser)
    .await
}

/// The envelope of the policy in force, and the highest seq of the stream.
pub(super) async fn policy_in_force(superuser: &mut PgConnection) -> sqlx::Result<(Vec<u8>, i64)> {
    let row = sqlx::query!(
        r#"
        SELECT envelope, (SELECT max(seq) FROM control.statement WHERE stream = 'policy') AS "seq!"
          FROM control.fleet
          JOIN control.statement ON stream = 'policy' AND statement.epoch = policy_epoch AND seq = policy_seq
        "#
    )
    .fetch_one(superuser)
    .await?;
    Ok((row.envelope, row.seq))
}

/// Keeps every control plane from taking a step, for the rest of the transaction.
pub(super) async fn hold_the_fleet(superuser: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("SELECT epoch FROM control.fleet FOR UPDATE")
        .fetch_one(superuser)
        .await
        .map(drop)
}

/// Writes a statement that no control plane has made.
pub(super) async fn forge(superuser: &mut PgConnection, seq: i64, envelope: &[u8]) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO control.statement (stream, epoch, seq, digest, envelope, change_id, author, expires_at)
        VALUES ('policy', 1, $1, sha256($2), $2, 'forged', 'mallory', clock_timestamp() + interval '1 day')
        "#,
        seq,
        envelope,
    )
    .execute(superuser)
    .await
    .map(drop)
}

/// Lets a gateway be told of a statement; of none, it is told of what all are told.
pub(super) async fn tell(superuser: &mut PgConnection, node: &str, seq: Option<i64>) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        UPDATE control.node_stream
           SET assigned_epoch = CASE WHEN $2::bigint IS NOT NULL THEN 1 END, assigned_seq = $2, assigned_shadow = false,
               assigned_at = clock_timestamp()
         WHERE stream = 'policy' AND node = $1
        "#,
        node,
        seq,
    )
    .execute(superuser)
    .await
    .map(drop)
}
