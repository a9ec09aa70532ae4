//! A key-encryption key follows another while the rings go on.

use std::time::Instant;

use custody::VersionedKey;
use http::StatusCode;
use keyring::{Algorithm, KeyEncryptionKey, RingName};
use serde_json::{Value, json};
use service_runtime::settings::WrappingKey;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use super::{DEADLINE, KEK, Plane, call, settings};
use crate::keks;
use crate::settings::Settings;
use crate::signing_keys::retire::maintain_once;
use crate::signing_keys::{complete, list, refuse_wrong_kek};
use crate::state::AppState;

const SECOND: [u8; 32] = [8; 32];

fn with_second(secret: [u8; 32]) -> Settings {
    Settings {
        keks: vec![VersionedKey {
            version: 2,
            secret: WrappingKey::from(secret.to_vec()),
        }],
        ..settings()
    }
}

impl Plane {
    pub(super) fn with_settings(&self, settings: &Settings) -> AppState {
        let (db, shutdown) = (self.state.db.clone(), self.state.shutdown.clone());
        AppState::new(settings, db, shutdown).unwrap()
    }

    /// A control plane whose rings are sealed under version 1, restarted with version 2 in its settings.
    async fn with_two_keks() -> Self {
        let mut plane = Self::without_a_ring().await;
        complete(&plane.state).await;
        plane.state = plane.with_settings(&with_second(SECOND));
        plane
    }

    pub(super) async fn kek(&self, verb: &str) -> (StatusCode, Value) {
        let (status, _, body) = call(
            self.router(),
            "POST",
            &format!("/internal/kek/{verb}"),
            Some("ada"),
        )
        .await;
        (status, body)
    }

    pub(super) async fn sealed_under(&self, version: i32) -> i64 {
        self.number(&format!(
            "SELECT count(*) FROM control.signing_key WHERE kek_version = {version} AND sealed_private_key IS NOT NULL"
        ))
        .await
    }
}

/// A core that was not restarted with the new version could not sign with the next key, and every log-in would fail.
#[tokio::test]
async fn a_version_that_a_living_process_lacks_seals_nothing_and_no_key_sealed_under_it_signs() {
    let plane = Plane::with_two_keks().await;
    let core = plane.database.pool_as("portico_core");
    let has = async |name: &str, versions: &str, live_s: i32| {
        let sql = format!("SELECT control.note_kek_holder('{name}', '{versions}', {live_s})");
        core.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
    };
    let refused = |answer: &(StatusCode, Value)| {
        let (status, body) = answer;
        let kind = body["type"].as_str().unwrap_or_default();
        assert_eq!(
            (*status, kind, &body["lacking"]),
            (
                StatusCode::CONFLICT,
                "urn:portico:problem:kek-not-everywhere",
                &json!(["core-1"])
            ),
            "{body}"
        );
    };
    has("core-1", "{1}", 60).await;
    has("core-2", "{1,2}", 60).await;
    refused(&plane.kek("rotate").await);
    assert_eq!(plane.sealed_under(2).await, 0);
    has("core-1", "{1,2}", 60).await;
    assert_eq!(plane.kek("rotate").await.0, StatusCode::OK);

    // The next standby is sealed under the new version, and a core comes back without it.
    plane.pass(330).await;
    assert_eq!(plane.rotate().await.0, StatusCode::OK);
    plane.pass(330).await;
    has("core-1", "{1}", 60).await;
    let (status, _, body) = plane.rotate().await;
    refused(&(status, body));
    let ring = maintain_once(&plane.state, RingName::Access, None).await.unwrap();
    assert_eq!(ring.activated, None);
    // One that ended is waited for no more.
    has("core-1", "{1}", 0).await;
    assert_eq!(plane.rotate().await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_new_version_seals_when_it_is_told_to_and_the_old_one_ends_when_nothing_needs_it() {
    let plane = Plane::with_two_keks().await;
    let (_, _, body) = plane.call("GET", "/internal/kek").await;
    assert_eq!(
        (
            &body["active"],
            &body["keks"][0]["sealed_keys"],
            &body["keks"][1]["state"]
        ),
        (&1.into(), &10.into(), &"new".into()),
        "{body}"
    );
    let (status, body) = plane.kek("rotate").await;
    assert_eq!(
        (status, body),
        (
            StatusCode::OK,
            json!({"active": 2, "retiring": 1, "to_rewrap": 10})
        )
    );
    let (status, body) = plane.kek("retire?version=1").await;
    assert_eq!(
        (status, &body["sealed_keys"]),
        (StatusCode::CONFLICT, &10.into()),
        "{body}"
    );
    // The rings go on meanwhile: old keys open, new ones are sealed under the new version.
    plane.pass(330).await;
    assert_eq!(plane.rotate().await.0, StatusCode::OK);
    assert_eq!(plane.sealed_under(2).await, 1);

    let (_, first) = plane.kek("rewrap?batch=4").await;
    assert_eq!((&first["rewrapped"], &first["remaining"]), (&4.into(), &6.into()));
    // A kill here costs nothing: whoever begins again does the rest.
    let (_, rest) = plane.kek("rewrap").await;
    assert_eq!(
        (&rest["rewrapped"], &rest["remaining"]),
        (&6.into(), &0.into()),
        "{rest}"
    );
    let (_, nothing) = plane.kek("rewrap").await;
    assert_eq!(
        (&nothing["rewrapped"], &nothing["next"]),
        (&0.into(), &Value::Null)
    );

    assert_eq!(plane.kek("retire?version=1").await.1["changed"], true);
    assert_eq!(plane.kek("retire?version=1").await.1["changed"], false);
    let (_, _, body) = plane.call("GET", "/internal/kek").await;
    assert_eq!(
        (&body["min_version"], &body["keks"][0]["state"]),
        (&2.into(), &"retired".into())
    );

    // The old secret may be destroyed.
    let mut alone = with_second(SECOND);
    alone.kek = WrappingKey::default();
    let state = plane.with_settings(&alone);
    refuse_wrong_kek(&state).await.unwrap();
    for ring in RingName::ALL {
        list::check_ring(&state, ring).await.unwrap();
    }
}

#[tokio::test]
async fn there_is_nothing_to_rotate_to_without_a_newer_version() {
    let plane = Plane::start().await;
    let (status, body) = plane.kek("rotate").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(body["type"], "urn:portico:problem:kek-not-newer");
    assert!(body["detail"].as_str().unwrap().contains("version 2"), "{body}");
    for (verb, status) in [
        ("retire?version=1", StatusCode::CONFLICT),
        ("retire?version=7", StatusCode::NOT_FOUND),
        ("retire", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(plane.kek(verb).await.0, status, "{verb}");
    }
}

#[tokio::test]
async fn two_rotations_at_once_are_one() {
    let plane = Plane::with_two_keks().await;
    let (one, two) = tokio::join!(plane.kek("rotate"), plane.kek("rotate"));
    let mut statuses = [one.0, two.0];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::OK, StatusCode::CONFLICT]);
}

#[tokio::test]
async fn rewrapping_at_once_and_under_rotations_loses_no_key() {
    let plane = Plane::with_two_keks().await;
    plane.pass(330).await;
    assert_eq!(plane.kek("rotate").await.0, StatusCode::OK);
    let (one, two, rotated) = tokio::join!(
        plane.kek("rewrap?batch=1000"),
        plane.kek("rewrap?batch=1000"),
        plane.rotate()
    );
    assert_eq!(
        (one.0, two.0, rotated.0),
        (StatusCode::OK, StatusCode::OK, StatusCode::OK)
    );
    // One skips what the other holds.
    plane.kek("rewrap").await;
    assert_eq!(plane.sealed_under(1).await, 0);
    for ring in RingName::ALL {
        list::check_ring(&plane.state, ring).await.unwrap();
    }
    let (token, claims) = plane.sign_with(&[(1, KEK), (2, SECOND)]).await;
    assert_eq!(plane.verify(&token, claims.iat).await, Ok(claims));
}

/// A turn of a ring takes its keys one after the other, a rewrap takes those of all rings: in whichever order they meet, one
/// waits for the other, and never both.
#[tokio::test]
async fn a_rewrap_and_a_turn_of_a_ring_never_wait_for_each_other_in_a_circle() {
    for (first, second) in [("active", "published"), ("published", "active")] {
        let plane = Plane::with_two_keks().await;
        assert_eq!(plane.kek("rotate").await.0, StatusCode::OK);
        let control = plane.database.pool_as("portico_control");
        let mut turn = control.begin().await.unwrap();
        let take = |state: &str| {
            AssertSqlSafe(format!(
                "UPDATE control.signing_key SET state = state WHERE ring = 'access' AND state = '{state}'"
            ))
        };
        turn.execute("SELECT FROM control.key_ring WHERE ring = 'access' FOR UPDATE")
            .await
            .unwrap();
        turn.execute(sqlx::raw_sql(take(first))).await.unwrap();
        let goes_on = async {
            plane.wait_for("wait_event_type = 'Lock'").await;
            turn.execute(sqlx::raw_sql(take(second))).await.unwrap();
            turn.commit().await.unwrap();
        };
        let (rewrapped, ()) = tokio::join!(plane.kek("rewrap"), goes_on);
        assert_eq!(rewrapped.0, StatusCode::OK, "{first} first: {}", rewrapped.1);
        assert_eq!(plane.sealed_under(1).await, 0, "{first} first");
    }
}

#[tokio::test]
async fn a_rewrap_that_dies_at_any_statement_is_done_by_the_next() {
    let plane = Plane::with_two_keks().await;
    assert_eq!(plane.kek("rotate").await.0, StatusCode::OK);
    plane.may_die().await;
    for point in [1, 2] {
        plane.dies_at(point).await;
        assert!(plane.kek("rewrap").await.0.is_server_error(), "{point}");
        assert_eq!(
            (plane.sealed_under(1).await, plane.sealed_under(2).await),
            (10, 0)
        );
    }
    plane.dies_at(0).await;
    // What the dead connection held is left out until the database has noticed.
    let start = Instant::now();
    while plane.kek("rewrap").await.1["remaining"] != 0 {
        assert!(start.elapsed() < DEADLINE, "never done");
    }
    assert_eq!(plane.sealed_under(2).await, 10);
}

/// The second case is the first one half a second later: what sealed is itself on its way out.
#[tokio::test]
async fn a_rewrap_that_stood_still_takes_nothing_back_to_an_older_version() {
    let turn = "UPDATE control.kek SET state = 'retiring', retiring_at = now() WHERE version = 2;
                INSERT INTO control.kek (version, state, check_value) VALUES (3, 'active', 'x')";
    for (meanwhile, done) in [("", 9), (turn, 0)] {
        let plane = Plane::with_two_keks().await;
        assert_eq!(plane.kek("rotate").await.0, StatusCode::OK);
        let control = plane.database.pool_as("portico_control");
        let mut tx = control.begin().await.unwrap();
        tx.execute("SELECT FROM control.key_ring FOR UPDATE")
            .await
            .unwrap();
        let kid = plane.kid("published").await;
        let goes_on = async {
            plane.wait_for("wait_event_type = 'Lock'").await;
            let newer =
                format!("UPDATE control.signing_key SET kek_version = 3 WHERE kid = '{kid}'; {meanwhile}");
            tx.execute(sqlx::raw_sql(AssertSqlSafe(newer))).await.unwrap();
            tx.commit().await.unwrap();
        };
        let (rewrapped, ()) = tokio::join!(plane.kek("rewrap"), goes_on);
        assert_eq!(rewrapped.1["rewrapped"], done, "{}", rewrapped.1);
        assert_eq!(plane.sealed_under(3).await, 1, "{meanwhile}");
        assert_eq!(plane.sealed_under(2).await, done, "{meanwhile}");
    }
}

#[tokio::test]
async fn rows_of_before_data_keys_open_and_get_one() {
    let plane = Plane::start().await;
    let row = plane
        .row("SELECT kid, sealed_private_key FROM control.signing_key WHERE state = 'active'")
        .await;
    let kid: String = row.get("kid");
    // As a version of before wrote it.
    let kek = KeyEncryptionKey::from_bytes(KEK);
    let private = plane.private_part(&kid).await;
    let sealed = keyring::seal(&kek, "access", &kid, Algorithm::EdDSA, 1, &private).unwrap();
    plane.keep_as_before(&kid, &sealed).await;
    list::check_ring(&plane.state, RingName::Access).await.unwrap();
    assert_eq!(plane.kek("rewrap").await.1["rewrapped"], 1);
    list::check_ring(&plane.state, RingName::Access).await.unwrap();
    let bare = "SELECT count(*) FROM control.signing_key WHERE wrapped_data_key IS NULL";
    assert_eq!(plane.number(bare).await, 0);
}

#[tokio::test]
async fn a_key_that_does_not_open_is_named_and_holds_nothing_up() {
    let plane = Plane::with_two_keks().await;
    assert_eq!(plane.kek("rotate").await.0, StatusCode::OK);
    let kid = plane.kid("published").await;
    plane
        .run(&format!(
            "UPDATE control.signing_key SET wrapped_data_key = 'x' WHERE kid = '{kid}'"
        ))
        .await;
    let (_, body) = plane.kek("rewrap").await;
    assert_eq!(
        (&body["rewrapped"], &body["failed"], &body["remaining"]),
        (&9.into(), &json!([kid]), &1.into())
    );
    assert_eq!(plane.kek("retire?version=1").await.0, StatusCode::CONFLICT);
}

#[tokio::test]
async fn another_secret_under_a_known_version_is_refused_at_the_start() {
    let plane = Plane::with_two_keks().await;
    assert_eq!(plane.kek("rotate").await.0, StatusCode::OK);
    refuse_wrong_kek(&plane.state).await.unwrap();
    // Nothing is sealed under version 2 yet: only the check value tells.
    let other = plane.with_settings(&with_second([9; 32]));
    let refusal = refuse_wrong_kek(&other).await.unwrap_err().to_string();
    assert!(refusal.contains("version 2"), "{refusal}");
    // Without the version that seals, no key can be made: nothing is half done.
    let without = plane.with_settings(&settings());
    plane.pass(330).await;
    let before = plane.picture().await;
    let (status, ..) = call(
        crate::router::router(without),
        "POST",
        "/internal/keys/rotate",
        None,
    )
    .await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(plane.picture().await, before);
}

#[tokio::test]
async fn a_control_plane_without_the_version_that_seals_says_so_and_what_to_do() {
    let plane = Plane::with_two_keks().await;
    assert_eq!(plane.kek("rotate").await.0, StatusCode::OK);
    let without = plane.with_settings(&settings());
    plane.pass(330).await;
    let before = plane.picture().await;
    for path in [
        "/internal/kek/rotate",
        "/internal/kek/rewrap",
        "/internal/keys/rotate",
        "/internal/keys/rotate?ring=stepup",
    ] {
        let router = service_runtime::http::layers(crate::router::router(without.clone()), "control-plane");
        let (status, _, body) = call(router, "POST", path, None).await;
        assert_eq!(
            (status, body["type"].as_str()),
            (
                StatusCode::CONFLICT,
                Some("urn:portico:problem:kek-not-in-settings")
            ),
            "{path}: {body}"
        );
        assert!(body["detail"].as_str().unwrap().contains("version 2"), "{body}");
    }
    assert_eq!(plane.picture().await, before);
}

#[tokio::test]
async fn a_check_value_is_learnt_from_a_process_that_has_opened_a_key_and_from_no_other() {
    let plane = Plane::without_a_ring().await;
    // As the migration leaves a database of before check values.
    plane
        .run("INSERT INTO control.kek (version, state) VALUES (1, 'active')")
        .await;
    let known = "SELECT count(check_value) FROM control.kek";
    refuse_wrong_kek(&plane.state).await.unwrap();
    assert_eq!(
        plane.number(known).await,
        0,
        "no key has shown that ours is the right one"
    );
    complete(&plane.state).await;
    refuse_wrong_kek(&plane.state).await.unwrap();
    assert_eq!(plane.number(known).await, 1);
}

#[tokio::test]
async fn the_database_keeps_a_retired_version_from_sealing_and_a_needed_one_from_retiring() {
    let plane = Plane::with_two_keks().await;
    assert_eq!(plane.kek("rotate").await.0, StatusCode::OK);
    let refused = [
        "UPDATE control.kek SET state = 'retired', retired_at = clock_timestamp() WHERE version = 1",
        "UPDATE control.kek SET state = 'active', retiring_at = NULL WHERE version = 1",
        "UPDATE control.kek SET check_value = 'x' WHERE version = 2",
        "UPDATE control.kek SET version = 3 WHERE version = 2",
        "INSERT INTO control.kek (version, state) VALUES (3, 'active')",
        "DELETE FROM control.kek",
    ];
    for sql in refused {
        assert!(plane.tries(sql).await.starts_with("23"), "{sql}");
    }
    plane.kek("rewrap").await;
    assert_eq!(plane.kek("retire?version=1").await.0, StatusCode::OK);
    let back = "UPDATE control.signing_key SET kek_version = 1 WHERE sealed_private_key IS NOT NULL";
    assert!(plane.tries(back).await.starts_with("23"));
}

impl Plane {
    /// Keeps a private part as a version of before data keys did.
    async fn keep_as_before(&self, kid: &str, sealed: &[u8]) {
        let hexadecimal: String = sealed.iter().map(|byte| format!("{byte:02x}")).collect();
        self.run(&format!(
            "UPDATE control.signing_key SET wrapped_data_key = NULL, sealed_private_key = decode('{hexadecimal}', 'hex')
              WHERE kid = '{kid}'"
        ))
        .await;
    }

    /// The SQLSTATE with which the database refuses a statement.
    async fn tries(&self, sql: &str) -> String {
        let outcome = self
            .owner
            .execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
            .await;
        let error = outcome.expect_err(sql);
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        code.unwrap().into_owned()
    }
}

#[tokio::test]
async fn inv6_after_the_window_a_dump_holds_no_private_part_that_any_key_opens() {
    let plane = Plane::start().await;
    plane.pass(330).await;
    let first = plane.kid("active").await;
    assert_eq!(plane.rotate().await.0, StatusCode::OK);
    assert!(
        plane.dump_opens(&first).await,
        "the control: within the window it opens"
    );
    plane.pass(110).await;
    maintain_once(&plane.state, RingName::Access, None).await.unwrap();
    assert!(!plane.dump_opens(&first).await);
    assert!(plane.dump_opens(&plane.kid("active").await).await);
}

#[tokio::test]
async fn the_sealing_version_is_chosen_once_by_control_planes_that_start_together() {
    let plane = Plane::without_a_ring().await;
    let (one, two) = (plane.with_settings(&with_second(SECOND)), plane.twin());
    let sealing = async |state: &AppState| {
        let mut conn = state.db.acquire().await.unwrap();
        keks::sealing_version(&mut conn, state.vault.keks()).await
    };
    let (first, second) = tokio::join!(sealing(&one), sealing(&two));
    assert_eq!(plane.number("SELECT count(*) FROM control.kek").await, 1);
    // Whoever does not have it cannot seal, and says so.
    assert!(first.is_ok() || second.is_ok());
}
