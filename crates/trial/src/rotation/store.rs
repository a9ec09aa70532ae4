//! What the harness reads from the database, and where it makes a transition stand still.

use keyring::{Algorithm, KeyEncryptionKeys, SealedFor, SealedPrivateKey, SigningKey};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Row as _};

use super::evidence::{Key, Snapshot};

/// A private key as it lies in the database.
pub(crate) struct SealedRow {
    pub(crate) kid: String,
    pub(crate) algorithm: String,
    pub(crate) kek_version: i32,
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) wrapped_data_key: Option<Vec<u8>>,
}

impl SealedRow {
    /// The key of a ring, to whoever has the row and the key-encryption keys.
    pub(crate) fn open(self, keks: &KeyEncryptionKeys, ring: &str) -> anyhow::Result<SigningKey> {
        let algorithm: Algorithm = self.algorithm.parse()?;
        Ok(SigningKey::from_pkcs8(algorithm, &self.open_bytes(keks, ring)?)?)
    }

    /// Its private part, whatever that is.
    pub(super) fn open_bytes(self, keks: &KeyEncryptionKeys, ring: &str) -> anyhow::Result<Vec<u8>> {
        let place = SealedFor {
            ring,
            kid: &self.kid,
            algorithm: self.algorithm.parse()?,
        };
        let sealed = SealedPrivateKey {
            kek_version: self.kek_version,
            wrapped_data_key: self.wrapped_data_key,
            ciphertext: self.ciphertext,
        };
        Ok(keks.open(place, &sealed)?.to_vec())
    }
}

/// Keys of a ring that the harness makes, column by column.
#[derive(Debug, Default)]
pub(super) struct ArchivedRows {
    pub(super) kids: Vec<String>,
    pub(super) wrapped: Vec<Vec<u8>>,
    pub(super) sealed: Vec<Vec<u8>>,
}

/// What a trigger calls to wait while somebody holds the lock whose number it gives.
pub(crate) const WAIT: &str = r"
        CREATE SCHEMA trial;
        CREATE FUNCTION trial.wait() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock_shared(TG_ARGV[0]::bigint);
            RETURN NULL;
        END $$;";

/// Every key of every ring that the control plane knows, times in microseconds.
pub(super) async fn keys(auditor: &mut PgConnection) -> sqlx::Result<Vec<Key>> {
    sqlx::query_as!(
        Key,
        r#"
        SELECT kid, ring, published_seq,
               (extract(epoch FROM published_at) * 1000000)::bigint AS published,
               (extract(epoch FROM activated_at) * 1000000)::bigint AS activated,
               (extract(epoch FROM retiring_at) * 1000000)::bigint AS retiring,
               ceil(extract(epoch FROM sign_until))::bigint AS sign_until_s,
               ceil(extract(epoch FROM verify_until))::bigint AS verify_until_s,
               (extract(epoch FROM revoked_at) * 1000000)::bigint AS revoked
          FROM control.signing_key
         WHERE ring IN ('access', 'stepup', 'bundle', 'audit', 'webhook')
         ORDER BY created_at, kid
        "#
    )
    .fetch_all(auditor)
    .await
}

/// The active keys of each ring in one snapshot.
pub(super) async fn snapshot(auditor: &mut PgConnection) -> sqlx::Result<Vec<Snapshot>> {
    sqlx::query_as!(
        Snapshot,
        r#"
        SELECT key_ring.ring, count(kid) AS "active!",
               (extract(epoch FROM statement_timestamp()) * 1000000)::bigint AS "at!"
          FROM control.key_ring
          LEFT JOIN control.signing_key ON signing_key.ring = key_ring.ring AND state = 'active'
         WHERE key_ring.seq > 0
         GROUP BY key_ring.ring
        "#
    )
    .fetch_all(auditor)
    .await
}

/// The active key of the ring `access` with its sealed private part, which only the superuser may see.
pub(super) async fn active_key(superuser: &mut PgConnection) -> sqlx::Result<SealedRow> {
    sqlx::query_as!(
        SealedRow,
        r#"
        SELECT kid, algorithm, kek_version, sealed_private_key AS "ciphertext!", wrapped_data_key
          FROM control.signing_key
         WHERE ring = 'access' AND state = 'active'
        "#
    )
    .fetch_one(superuser)
    .await
}

/// Names, rings, algorithms and versions of every key: what a sealed part may be bound to.
pub(super) async fn bindings(
    superuser: &mut PgConnection,
) -> sqlx::Result<Vec<(String, String, String, i32)>> {
    let rows = sqlx::query!("SELECT kid, ring, algorithm, kek_version FROM control.signing_key")
        .fetch_all(superuser)
        .await?;
    let bindings = rows.into_iter();
    Ok(bindings
        .map(|row| (row.kid, row.ring, row.algorithm, row.kek_version))
        .collect())
}

/// Puts another key under the name of one that is there, as the control plane's role.
pub(super) async fn reuse_kid(control: &mut PgConnection, kid: &str) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO control.signing_key (kid, ring, algorithm, state, public_key, sealed_private_key, kek_version)
        VALUES ($1, 'access', 'EdDSA', 'generated', decode(repeat('ab', 32), 'hex'), '\x00', 1)
        "#,
        kid
    )
    .execute(control)
    .await
    .map(drop)
}

/// Gives a key another public part, as the control plane's role.
pub(super) async fn replace_material(control: &mut PgConnection, kid: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE control.signing_key SET public_key = decode(repeat('ab', 32), 'hex') WHERE kid = $1",
        kid
    )
    .execute(control)
    .await
    .map(drop)
}

/// Makes places at which a transition of the ring `access` waits while somebody holds the place's lock: nothing of the
/// binary is changed for it. See [`super::faults::Failpoint`] and [`super::deaths::Moment`] for the numbers.
pub(super) async fn install_failpoints(superuser: &mut PgConnection) -> sqlx::Result<()> {
    superuser.execute(sqlx::raw_sql(WAIT)).await?;
    let statements = r"
        CREATE TRIGGER trial_inserted AFTER INSERT ON control.signing_key FOR EACH ROW
            WHEN (NEW.ring = 'access') EXECUTE FUNCTION trial.wait('7301');
        CREATE TRIGGER trial_published AFTER INSERT OR UPDATE ON control.signing_key FOR EACH ROW
            WHEN (NEW.ring = 'access' AND NEW.state = 'published') EXECUTE FUNCTION trial.wait('7306');
        CREATE TRIGGER trial_retiring AFTER UPDATE ON control.signing_key FOR EACH ROW
            WHEN (NEW.ring = 'access' AND NEW.state = 'retiring' AND OLD.state = 'active') EXECUTE FUNCTION trial.wait('7302');
        CREATE TRIGGER trial_activated AFTER UPDATE ON control.signing_key FOR EACH ROW
            WHEN (NEW.ring = 'access' AND NEW.state = 'active' AND OLD.state <> 'active') EXECUTE FUNCTION trial.wait('7303');
        CREATE TRIGGER trial_raised AFTER UPDATE ON control.key_ring FOR EACH ROW
            WHEN (NEW.ring = 'access') EXECUTE FUNCTION trial.wait('7304');
        CREATE TRIGGER trial_retired AFTER UPDATE ON control.signing_key FOR EACH ROW
            WHEN (NEW.ring = 'access' AND NEW.state = 'retired' AND OLD.state <> 'retired') EXECUTE FUNCTION trial.wait('7307');
        CREATE TRIGGER trial_revoked AFTER UPDATE ON control.signing_key FOR EACH ROW
            WHEN (NEW.ring = 'access' AND NEW.state = 'revoked' AND OLD.state <> 'revoked') EXECUTE FUNCTION trial.wait('7308');
        CREATE FUNCTION trial.wait_for_word() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
            SET search_path = pg_catalog, pg_temp AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock_shared(7500 + 10 * substring(NEW.node FROM '[0-9]+$')::bigint
                + array_position(ARRAY['received', 'active', 'healthy'], NEW.stage));
            RETURN NULL;
        END $$;
        CREATE TRIGGER trial_word AFTER INSERT OR UPDATE OF stage ON control.node_stream FOR EACH ROW
            WHEN (NEW.stream = 'keyset' AND NEW.stage IN ('received', 'active', 'healthy')) EXECUTE FUNCTION trial.wait_for_word();
        CREATE CONSTRAINT TRIGGER trial_committing AFTER UPDATE ON control.key_ring DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
            WHEN (NEW.ring = 'access') EXECUTE FUNCTION trial.wait('7305');";
    superuser.execute(sqlx::raw_sql(statements)).await.map(drop)
}

/// Makes the database forget that gateways live, so that no rotation waits for one.
pub(super) async fn forget_that_gateways_live(superuser: &mut PgConnection) -> sqlx::Result<()> {
    let statements = r"
        CREATE FUNCTION trial.forget() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.last_heartbeat_at := NULL;
            RETURN NEW;
        END $$;
        CREATE TRIGGER trial_forget BEFORE INSERT OR UPDATE ON control.node FOR EACH ROW EXECUTE FUNCTION trial.forget();
        UPDATE control.node SET last_heartbeat_at = NULL;";
    superuser.execute(sqlx::raw_sql(statements)).await.map(drop)
}

/// From now on, what was committed survives a crash of the server: a run without it would lose what clients were told.
pub(super) async fn keep_what_is_committed(superuser: &mut PgConnection) -> sqlx::Result<()> {
    for statement in [
        "ALTER SYSTEM SET synchronous_commit = on",
        "SELECT pg_reload_conf()",
    ] {
        superuser.execute(sqlx::raw_sql(statement)).await?;
    }
    Ok(())
}

/// A process of the server that works for an issuer.
pub(super) async fn a_backend(superuser: &mut PgConnection) -> sqlx::Result<i32> {
    let newest =
        "SELECT pid FROM pg_stat_activity WHERE usename = 'portico_core' ORDER BY state_change DESC LIMIT 1";
    superuser.fetch_one(sqlx::raw_sql(newest)).await?.try_get(0)
}

/// Takes the lock of a failpoint, for as long as the connection lives or until it is let go.
pub(crate) async fn hold(superuser: &mut PgConnection, failpoint: i64) -> sqlx::Result<()> {
    sqlx::query!("SELECT pg_advisory_lock($1)", failpoint)
        .fetch_one(superuser)
        .await
        .map(drop)
}

/// Lets go of the lock of a failpoint.
pub(crate) async fn let_go(superuser: &mut PgConnection, failpoint: i64) -> sqlx::Result<()> {
    sqlx::query!("SELECT pg_advisory_unlock($1)", failpoint)
        .fetch_one(superuser)
        .await
        .map(drop)
}

/// Whether a transition waits at a failpoint.
pub(crate) async fn is_waited_for(superuser: &mut PgConnection, failpoint: i64) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid::bigint = $1) AS "waits!""#,
        failpoint
    )
    .fetch_one(superuser)
    .await
}

/// From the first start on, version 1 of the key-encryption key seals, although the settings have a newer one.
pub(super) async fn begin_with_the_first_kek(superuser: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("INSERT INTO control.kek (version, state) VALUES (1, 'active')")
        .execute(superuser)
        .await
        .map(drop)
}

/// Waits until no transition of the ring `access` is under way.
pub(super) async fn wait_for_the_ring(superuser: &mut PgConnection) -> sqlx::Result<()> {
    let statement = "SELECT seq FROM control.key_ring WHERE ring = 'access' FOR UPDATE";
    superuser.execute(sqlx::raw_sql(statement)).await.map(drop)
}

/// Makes a ring that no control plane knows: no key of it is published, signs, or is retired.
pub(super) async fn make_archive(superuser: &mut PgConnection) -> sqlx::Result<()> {
    let statements = r"
        ALTER TABLE control.key_ring DROP CONSTRAINT IF EXISTS key_ring_known;
        INSERT INTO control.key_ring (ring) VALUES ('archive') ON CONFLICT DO NOTHING;";
    superuser.execute(sqlx::raw_sql(statements)).await.map(drop)
}

/// Puts keys into it that are sealed under version 1.
pub(super) async fn archive(superuser: &mut PgConnection, rows: &ArchivedRows) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO control.signing_key
               (kid, ring, algorithm, state, public_key, sealed_private_key, wrapped_data_key, kek_version, published_at,
                published_seq, activated_at, retiring_at, sign_until, verify_until)
        SELECT kid, 'archive', 'EdDSA', 'retiring', decode(repeat('ab', 32), 'hex'), sealed, wrapped, 1, now(), 0, now(),
               now() + interval '1 year', now() + interval '1 year', now() + interval '1 year'
          FROM unnest($1::text[], $2::bytea[], $3::bytea[]) AS made (kid, wrapped, sealed)
        "#,
        &rows.kids,
        &rows.wrapped,
        &rows.sealed,
    )
    .execute(superuser)
    .await
    .map(drop)
}

/// Keys of it in the order of their names, from this place on.
pub(super) async fn archived(
    superuser: &mut PgConnection,
    place: i64,
    most: i64,
) -> sqlx::Result<Vec<SealedRow>> {
    sqlx::query_as!(
        SealedRow,
        r#"
        SELECT kid, algorithm, kek_version, sealed_private_key AS "ciphertext!", wrapped_data_key
          FROM control.signing_key WHERE ring = 'archive' ORDER BY kid OFFSET $1 LIMIT $2
        "#,
        place,
        most
    )
    .fetch_all(superuser)
    .await
}

/// Has whoever rewraps this key wait while somebody holds a lock.
pub(super) async fn stop_at(superuser: &mut PgConnection, kid: &str, lock: i64) -> sqlx::Result<()> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let kid = kid.chars().filter(|c| is_name(*c)).collect::<String>();
    // No parameter can stand in a trigger; the name has no quote.
    let statement = AssertSqlSafe(format!(
        "CREATE OR REPLACE TRIGGER trial_rewrapped AFTER UPDATE ON control.signing_key FOR EACH ROW
             WHEN (NEW.kid = '{kid}') EXECUTE FUNCTION trial.wait('{lock}')"
    ));
    superuser.execute(sqlx::raw_sql(statement)).await.map(drop)
}

/// Removes what was put into it, past the trigger that keeps every key there ever was.
pub(super) async fn clear_archive(superuser: &mut PgConnection) -> sqlx::Result<()> {
    let statements = r"
        DROP TRIGGER IF EXISTS trial_rewrapped ON control.signing_key;
        ALTER TABLE control.signing_key DISABLE TRIGGER signing_key_no_delete;
        DELETE FROM control.signing_key WHERE ring = 'archive';
        ALTER TABLE control.signing_key ENABLE TRIGGER signing_key_no_delete;";
    superuser.execute(sqlx::raw_sql(statements)).await.map(drop)
}
