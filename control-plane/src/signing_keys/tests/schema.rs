//! What the database itself refuses, whoever asks.

use http::StatusCode;
use keyring::RingName;
use sqlx::{AssertSqlSafe, Executor as _};

use super::Plane;
use crate::signing_keys::retire::maintain_once;

#[tokio::test]
async fn roles_see_and_change_only_what_they_need() {
    let plane = Plane::start().await;
    let attempts = [
        (
            "portico_core",
            "SELECT kid, sealed_private_key FROM control.active_signing_key",
            true,
        ),
        ("portico_core", "SELECT ring, seq FROM control.key_ring", true),
        (
            "portico_core",
            "SELECT kid, state, public_key, sign_until, verify_until FROM control.signing_key",
            true,
        ),
        (
            "portico_core",
            "SELECT sealed_private_key FROM control.signing_key",
            false,
        ),
        (
            "portico_core",
            "UPDATE control.signing_key SET state = 'revoked'",
            false,
        ),
        ("portico_core", "SELECT FROM control.audit_event", false),
        (
            "portico_auditor",
            "SELECT kid, state, public_key FROM control.signing_key",
            true,
        ),
        ("portico_auditor", "SELECT * FROM control.audit_event", true),
        (
            "portico_auditor",
            "SELECT sealed_private_key FROM control.signing_key",
            false,
        ),
        ("portico_auditor", "SELECT FROM control.active_signing_key", false),
        ("portico_control", "DELETE FROM control.signing_key", false),
        ("portico_control", "DELETE FROM control.audit_event", false),
        (
            "portico_control",
            "UPDATE control.audit_event SET actor = 'nobody'",
            false,
        ),
        ("portico_control", "TRUNCATE control.signing_key", false),
        ("portico_control", "SELECT FROM core.user", false),
        ("portico_control", "SELECT FROM ledger.balance", false),
    ];
    for (role, sql, allowed) in attempts {
        let outcome = plane.database.pool_as(role).execute(sqlx::raw_sql(sql)).await;
        let code = outcome.err().and_then(|error| {
            error
                .as_database_error()?
                .code()
                .map(std::borrow::Cow::into_owned)
        });
        assert_eq!(
            code.as_deref(),
            if allowed { None } else { Some("42501") },
            "{role}: {sql}"
        );
    }
}

#[tokio::test]
async fn the_database_refuses_what_no_control_plane_may_do() {
    let plane = Plane::start().await;
    plane.pass(330).await;
    assert_eq!(plane.rotate().await.0, StatusCode::OK);
    plane.pass(700).await;
    maintain_once(&plane.state, RingName::Access, None).await.unwrap();
    let late = "clock_timestamp()";
    let attempts = [
        // A second active key, a second standby.
        format!("UPDATE control.signing_key SET state = 'active', activated_at = {late} WHERE state = 'published'"),
        "INSERT INTO control.signing_key (kid, ring, algorithm, state, public_key, sealed_private_key, kek_version, published_at, published_seq)
         SELECT repeat('x', 43), ring, algorithm, 'published', public_key, sealed_private_key, 1, published_at, published_seq
           FROM control.signing_key WHERE state = 'published'".to_owned(),
        // Backwards, or without what the state needs.
        "UPDATE control.signing_key SET state = 'published', activated_at = NULL WHERE state = 'active'".to_owned(),
        "UPDATE control.signing_key SET state = 'retiring' WHERE state = 'active'".to_owned(),
        "UPDATE control.signing_key SET state = 'retiring', retired_at = NULL WHERE state = 'retired'".to_owned(),
        format!("UPDATE control.signing_key SET state = 'revoked', revoked_at = {late}, wrapped_data_key = NULL WHERE state = 'active'"),
        "UPDATE control.signing_key SET sealed_private_key = NULL, wrapped_data_key = NULL WHERE state = 'active'".to_owned(),
        // Another key under the same name, a destroyed one brought back, history removed.
        "UPDATE control.signing_key SET public_key = decode(repeat('00', 32), 'hex')".to_owned(),
        "UPDATE control.signing_key SET sealed_private_key = 'x' WHERE state = 'retired'".to_owned(),
        "DELETE FROM control.signing_key".to_owned(),
        "DELETE FROM control.key_ring".to_owned(),
        "UPDATE control.key_ring SET seq = seq - 1".to_owned(),
        "UPDATE control.audit_event SET actor = 'nobody'".to_owned(),
        "DELETE FROM control.audit_event".to_owned(),
        "TRUNCATE control.audit_event".to_owned(),
    ];
    let before = plane.picture().await;
    for sql in attempts {
        let outcome = plane
            .owner
            .execute(sqlx::raw_sql(AssertSqlSafe(sql.clone())))
            .await;
        let error = outcome.expect_err(&sql);
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .unwrap()
            .into_owned();
        // Integrity constraint violations, the class of our triggers included.
        assert!(code.starts_with("23"), "{sql}: {error}");
    }
    assert_eq!(plane.picture().await, before);
}
