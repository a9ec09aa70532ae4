//! What the harness reads from the database, where it makes a step of a roll-out stand still, and what a thief writes there.

use chrono::{DateTime, Utc};
use sqlx::{Executor as _, PgConnection};

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
