//! From one state to the next: what a ring becomes, what it refuses, what a crash leaves.

use chrono::{DateTime, Utc};
use http::StatusCode;
use keyring::{RingName, TokenRefusal};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use tokio::task::JoinSet;

use super::{Plane, call, states};
use crate::signing_keys::list;
use crate::signing_keys::retire::{Maintenance, maintain_once};

#[tokio::test]
async fn inv4_a_new_ring_has_one_active_key_and_a_standby() {
    let plane = Plane::without_a_ring().await;
    assert!(list::check_ring(&plane.state, RingName::Access).await.is_err());
    assert_eq!(plane.rotate().await.0, StatusCode::SERVICE_UNAVAILABLE);

    maintain_once(&plane.state, RingName::Access, None).await.unwrap();
    let body = plane.keys().await;
    assert_eq!(
        (states(&body), &body["seq"]),
        (vec!["active", "published"], &1.into())
    );
    assert!(
        body.to_string().contains("has_private_part") && !body.to_string().contains("sealed"),
        "{body}"
    );
    list::check_ring(&plane.state, RingName::Access).await.unwrap();

    assert_eq!(
        maintain_once(&plane.state, RingName::Access, None).await.unwrap(),
        Maintenance::default()
    );
    assert_eq!(plane.keys().await["seq"], 1);
}

#[tokio::test]
async fn inv4_control_planes_that_start_together_make_one_ring() {
    let plane = Plane::without_a_ring().await;
    let mut starts = JoinSet::new();
    for _ in 0..4 {
        let twin = plane.twin();
        starts.spawn(async move { maintain_once(&twin, RingName::Access, None).await.map(drop) });
    }
    while let Some(start) = starts.join_next().await {
        start.unwrap().unwrap();
    }
    let body = plane.keys().await;
    assert_eq!(
        (states(&body), &body["seq"]),
        (vec!["active", "published"], &1.into())
    );
    assert_eq!(plane.number("SELECT count(*) FROM control.audit_event").await, 5);
}

#[tokio::test]
async fn a_rotation_hands_over_and_old_tokens_still_verify() {
    let plane = Plane::start().await;
    let (old_active, old_standby) = (plane.kid("active").await, plane.kid("published").await);
    let (old_token, claims) = plane.sign().await;
    plane.pass(330).await;

    let (status, _, body) = plane.rotate().await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(
        (&body["active"], &body["retiring"]),
        (&old_standby.clone().into(), &old_active.clone().into())
    );
    assert_eq!((&body["seq"], &body["verifies_for_s"]), (&2.into(), &665.into()));
    assert_eq!(plane.kid("active").await, old_standby);
    assert_eq!(plane.kid("retiring").await, old_active);
    assert_eq!(plane.kid("published").await, body["standby"].as_str().unwrap());

    // INV-1: both the old token and a new one are good, with the very key set that verifiers get.
    assert_eq!(
        plane.verify(&old_token, claims.iat + 599).await,
        Ok(claims.clone())
    );
    let (new_token, new_claims) = plane.sign().await;
    assert_eq!(plane.verify(&new_token, new_claims.iat).await, Ok(new_claims));
    // INV-2: long after the switch the old key verifies nothing, before any maintenance has run.
    plane.pass(700).await;
    assert_eq!(
        plane.verify(&old_token, claims.iat + 599).await,
        Err(TokenRefusal::RetiredKey)
    );
}

#[tokio::test]
async fn g2_a_rotation_too_early_is_refused_and_changes_nothing() {
    let plane = Plane::start().await;
    let before = plane.picture().await;

    let (status, headers, body) = plane.rotate().await;
    assert_eq!(
        (status, &body["type"]),
        (
            StatusCode::CONFLICT,
            &"urn:portico:problem:rotation-too-early".into()
        )
    );
    let retry_after = body["retry_after"].as_i64().unwrap();
    assert!((300..=330).contains(&retry_after), "{body}");
    assert_eq!(headers["retry-after"].to_str().unwrap(), retry_after.to_string());
    assert_eq!(plane.picture().await, before);
    assert!((300..=330).contains(&plane.keys().await["rotatable_in_s"].as_i64().unwrap()));

    // Whoever waits as told succeeds.
    plane.pass(retry_after).await;
    assert_eq!(plane.keys().await["rotatable_in_s"], 0);
    assert_eq!(plane.rotate().await.0, StatusCode::OK);
}

#[tokio::test]
async fn twenty_parallel_rotations_are_one_transition() {
    let plane = Plane::start().await;
    plane.pass(400).await;
    let twin = plane.twin();
    let mut rotations = JoinSet::new();
    for number in 0..20 {
        let state = if number % 2 == 0 {
            plane.state.clone()
        } else {
            twin.clone()
        };
        rotations.spawn(call(
            crate::router::router(state),
            "POST",
            "/internal/keys/rotate",
            None,
        ));
    }
    let mut statuses = Vec::new();
    while let Some(rotation) = rotations.join_next().await {
        statuses.push(rotation.unwrap().0);
    }
    statuses.sort_unstable();
    assert_eq!(
        statuses
            .iter()
            .filter(|status| **status == StatusCode::OK)
            .count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(
        statuses
            .iter()
            .filter(|status| **status == StatusCode::CONFLICT)
            .count(),
        19,
        "{statuses:?}"
    );
    let body = plane.keys().await;
    assert_eq!(
        (states(&body), &body["seq"]),
        (vec!["active", "published", "retiring"], &2.into())
    );
}

#[tokio::test]
async fn g4_inv6_keys_retire_on_time_and_their_private_parts_are_destroyed() {
    let plane = Plane::start().await;
    let first = plane.kid("active").await;
    plane.pass(330).await;
    assert_eq!(plane.rotate().await.0, StatusCode::OK);
    let private = format!("SELECT count(sealed_private_key) FROM control.signing_key WHERE kid = '{first}'");

    plane.pass(100).await;
    assert_eq!(
        maintain_once(&plane.state, RingName::Access, None).await.unwrap(),
        Maintenance::default()
    );
    assert_eq!(plane.number(&private).await, 1);

    plane.pass(10).await;
    let done = maintain_once(&plane.state, RingName::Access, None).await.unwrap();
    assert_eq!(
        done,
        Maintenance {
            retired: Vec::new(),
            destroyed: vec![first.clone()],
            activated: None,
        }
    );
    assert_eq!(
        (plane.number(&private).await, &plane.keys().await["seq"]),
        (0, &2.into())
    );

    plane.pass(540).await;
    assert_eq!(
        maintain_once(&plane.state, RingName::Access, None).await.unwrap(),
        Maintenance::default()
    );
    assert!(plane.key_set().await.keys.iter().any(|key| key.kid == first));

    // Several instances at once, twice: it happens once.
    plane.pass(20).await;
    let twin = plane.twin();
    let (one, two) = tokio::join!(
        maintain_once(&plane.state, RingName::Access, None),
        maintain_once(&twin, RingName::Access, None)
    );
    let mut retired = [one.unwrap().retired, two.unwrap().retired].concat();
    assert_eq!((retired.pop(), retired.pop()), (Some(first.clone()), None));
    assert_eq!(
        maintain_once(&plane.state, RingName::Access, None).await.unwrap(),
        Maintenance::default()
    );
    let set = plane.key_set().await;
    assert!(
        set.seq == 3 && set.keys.iter().all(|key| key.kid != first),
        "{set:?}"
    );
    assert_eq!(
        plane.number("SELECT count(*) FROM control.signing_key").await,
        3,
        "the public part is kept"
    );
}

#[tokio::test]
async fn a_key_retires_with_its_private_part_when_the_rollback_window_is_longer() {
    let plane = Plane::start().await;
    plane.pass(330).await;
    assert_eq!(plane.rotate().await.0, StatusCode::OK);
    plane.pass(700).await;
    let mut state = plane.state.clone();
    state.bounds.rollback_window_s = 100_000;
    let done = maintain_once(&state, RingName::Access, None).await.unwrap();
    assert_eq!((done.retired.len(), done.destroyed.len()), (1, 0));
    assert_eq!(
        plane
            .number("SELECT count(sealed_private_key) FROM control.signing_key")
            .await,
        2
    );
}

#[tokio::test]
async fn a_sealed_key_in_another_row_does_not_open_and_never_signs() {
    let plane = Plane::start().await;
    plane.pass(330).await;
    plane
        .run(
            "UPDATE control.signing_key SET (sealed_private_key, wrapped_data_key) =
                 (SELECT sealed_private_key, wrapped_data_key FROM control.signing_key WHERE state = 'active')
              WHERE state = 'published'",
        )
        .await;
    let before = plane.picture().await;
    let (status, _, body) = plane.rotate().await;
    assert_eq!(
        (status, &body["type"]),
        (
            StatusCode::CONFLICT,
            &"urn:portico:problem:standby-unusable".into()
        )
    );
    assert_eq!(plane.picture().await, before);
    assert!(
        list::check_ring(&plane.state, RingName::Access).await.is_err(),
        "the process would say it is ready"
    );
}

#[tokio::test]
async fn a_crash_between_two_statements_leaves_the_ring_as_it_was() {
    let plane = Plane::start().await;
    plane.pass(330).await;
    let before = plane.picture().await;
    // The first table a rotation touches, the first of its records, and its last statement but the commit.
    for (table, mode) in [
        ("control.key_ring", "ACCESS EXCLUSIVE"),
        ("control.signing_key", "EXCLUSIVE"),
        ("control.audit_event", "ACCESS EXCLUSIVE"),
        ("control.key_ring", "EXCLUSIVE"),
    ] {
        let mut blocker = plane.owner.begin().await.unwrap();
        let lock = format!("LOCK TABLE {table} IN {mode} MODE");
        blocker.execute(sqlx::raw_sql(AssertSqlSafe(lock))).await.unwrap();
        let crash = async {
            plane.wait_for("wait_event_type = 'Lock'").await;
            plane
                .run(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                      WHERE datname = current_database() AND wait_event_type = 'Lock'",
                )
                .await;
        };
        let ((status, _, body), ()) = tokio::join!(plane.rotate(), crash);
        assert!(status.is_server_error(), "{table}: {body}");
        blocker.rollback().await.unwrap();
        assert_eq!(plane.picture().await, before, "{table}");
    }
    assert_eq!(plane.rotate().await.0, StatusCode::OK);
}

#[tokio::test]
async fn every_transition_is_recorded_with_who_and_when() {
    let plane = Plane::start().await;
    plane.pass(330).await;
    let (status, _, body) = call(
        plane.router(),
        "POST",
        "/internal/keys/rotate",
        Some("ada@bank.example"),
    )
    .await;
    assert_eq!(status, StatusCode::OK, "{body}");
    plane.pass(700).await;
    maintain_once(&plane.state, RingName::Access, None).await.unwrap();

    let trail: String = plane
        .row(
            "SELECT string_agg(concat_ws(' ', actor, action, ring, coalesce(request_id, '-')), E'\\n' ORDER BY audit_event_id)
               FROM control.audit_event",
        )
        .await
        .get(0);
    assert_eq!(
        trail.lines().collect::<Vec<_>>(),
        [
            "control-plane signing_key.generated access -",
            "control-plane signing_key.published access -",
            "control-plane signing_key.activated access -",
            "control-plane signing_key.generated access -",
            "control-plane signing_key.published access -",
            "operator:ada@bank.example signing_key.retiring access request-0001",
            "operator:ada@bank.example signing_key.activated access request-0001",
            "operator:ada@bank.example signing_key.generated access request-0001",
            "operator:ada@bank.example signing_key.published access request-0001",
            "control-plane signing_key.retired access -",
        ]
    );
    let (status, _, _) = call(
        plane.router(),
        "POST",
        "/internal/keys/rotate",
        Some("eve\tadmin"),
    )
    .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_ring_that_lost_its_active_key_is_left_to_a_person() {
    let plane = Plane::start().await;
    plane
        .run(
            "UPDATE control.signing_key SET state = 'revoked', revoked_at = clock_timestamp(), sealed_private_key = NULL,
                    wrapped_data_key = NULL
              WHERE state = 'active'",
        )
        .await;
    plane.pass(400).await;
    let before = plane.picture().await;
    assert!(maintain_once(&plane.state, RingName::Access, None).await.is_err());
    assert_eq!(plane.rotate().await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(plane.picture().await, before);
}

#[tokio::test]
async fn a_transition_waits_for_the_lock_and_takes_its_time_after_it() {
    let plane = Plane::start().await;
    plane.pass(330).await;
    let mut holder = plane.owner.begin().await.unwrap();
    holder
        .execute(sqlx::raw_sql("SELECT FROM control.key_ring FOR UPDATE"))
        .await
        .unwrap();
    let release = async {
        plane.wait_for("wait_event_type = 'Lock'").await;
        let released_at: DateTime<Utc> = holder
            .fetch_one(sqlx::raw_sql("SELECT clock_timestamp()"))
            .await
            .unwrap()
            .get(0);
        holder.commit().await.unwrap();
        released_at
    };
    let ((status, _, body), released_at) = tokio::join!(plane.rotate(), release);
    assert_eq!(status, StatusCode::OK, "{body}");
    let rotated_at: DateTime<Utc> = body["rotated_at"].as_str().unwrap().parse().unwrap();
    assert!(
        rotated_at > released_at,
        "{rotated_at} is from before the wait, which ended {released_at}"
    );
}
