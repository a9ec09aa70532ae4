//! A rotation waits for the gateways that would refuse its tokens, and for no others.

use std::time::Duration;

use http::StatusCode;
use keyring::RingName;
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor as _};

use super::Plane;
use crate::lease::Lease;
use crate::signing_keys::complete;
use crate::signing_keys::error::KeyError;
use crate::signing_keys::retire::{Maintenance, maintain_once, turn};

const POSTPONED: &str = "urn:portico:problem:rotation-postponed";

#[tokio::test]
async fn g2_a_live_gateway_that_is_behind_postpones_the_rotation_and_is_named() {
    let plane = Plane::start().await;
    plane.pass(330).await;
    plane.gateway("edge-1", Some(1)).await;
    plane.gateway("edge-2", Some(0)).await;
    plane.gateway("edge-3", None).await;
    let before = plane.picture().await;

    let (status, _, body) = plane.rotate().await;
    assert_eq!(
        (status, body["type"].as_str()),
        (StatusCode::CONFLICT, Some(POSTPONED))
    );
    assert_eq!(body["gateways"], json!(["edge-2", "edge-3"]), "{body}");
    assert_eq!(body["gateways_behind"], 2);
    assert_eq!(plane.picture().await, before);
    assert_eq!(plane.keys().await["gateways_behind"], json!(["edge-2", "edge-3"]));

    // INV-5: it goes on when each of them holds the key set that told of the standby, or is not there any more.
    plane.gateway("edge-3", Some(1)).await;
    assert_eq!(plane.rotate().await.2["gateways"], json!(["edge-2"]));
    plane.gateway_falls_silent("edge-2").await;
    assert_eq!(plane.rotate().await.0, StatusCode::OK);
}

#[tokio::test]
async fn g2_an_evicted_gateway_is_waited_for_by_nobody() {
    let plane = Plane::start().await;
    plane.pass(330).await;
    plane.gateway("edge-1", None).await;
    assert_eq!(plane.rotate().await.0, StatusCode::CONFLICT);
    plane
        .run("UPDATE control.node SET evicted_at = clock_timestamp()")
        .await;
    assert_eq!(plane.rotate().await.0, StatusCode::OK);
}

#[tokio::test]
async fn g2_the_dwell_time_is_not_shortened_by_gateways_that_are_up_to_date() {
    let plane = Plane::start().await;
    plane.gateway("edge-1", Some(1)).await;
    let (status, _, body) = plane.rotate().await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(body["type"], "urn:portico:problem:rotation-too-early");
}

#[tokio::test]
async fn rings_that_gateways_do_not_verify_with_wait_for_none_of_them() {
    let plane = Plane::without_a_ring().await;
    complete(&plane.state).await;
    plane.pass(330).await;
    plane.gateway("edge-1", None).await;
    for ring in RingName::ALL {
        let (status, _, body) = plane
            .call("POST", &format!("/internal/keys/rotate?ring={ring}"))
            .await;
        let expected = if ring == RingName::Access {
            StatusCode::CONFLICT
        } else {
            StatusCode::OK
        };
        assert_eq!(status, expected, "{body}");
    }
}

#[tokio::test]
async fn the_calendar_turns_a_ring_as_an_operator_would_and_waits_as_he_does() {
    let mut plane = Plane::start().await;
    plane.state.schedule.rotate_every_s = 1_000;
    plane.pass(999).await;
    let nothing = Maintenance::default();
    assert_eq!(
        maintain_once(&plane.state, RingName::Access, None).await.unwrap(),
        nothing
    );

    plane.pass(10).await;
    plane.gateway("edge-1", None).await;
    assert_eq!(
        maintain_once(&plane.state, RingName::Access, None).await.unwrap(),
        nothing
    );

    plane.gateway("edge-1", Some(1)).await;
    let standby = plane.kid("published").await;
    // Several at once: the ring turns once.
    let twin = plane.twin();
    let (one, two) = tokio::join!(
        maintain_once(&plane.state, RingName::Access, None),
        maintain_once(&twin, RingName::Access, None)
    );
    let activated = [one.unwrap().activated, two.unwrap().activated];
    assert_eq!(activated.iter().flatten().collect::<Vec<_>>(), [&standby]);
    assert_eq!(plane.kid("active").await, standby);
    assert_eq!(
        plane
            .number("SELECT count(*) FROM control.audit_event WHERE action = 'signing_key.activated' AND actor = 'control-plane'")
            .await,
        2
    );
}

/// What a process decides to do while it has the lease, it does while it has it, or not at all.
#[tokio::test]
async fn who_slept_through_the_end_of_the_lease_settles_and_turns_nothing() {
    let mut plane = Plane::start().await;
    plane.state.schedule.rotate_every_s = 1_000;
    plane.pass(330).await;
    assert_eq!(plane.rotate().await.0, StatusCode::OK);
    // One key is to retire, and the ring to turn.
    plane.pass(1_000).await;
    let mut lease = Lease::new("signing-keys", Duration::from_secs(3_600));
    let fence = lease.hold(&plane.state.db).await.unwrap().unwrap();
    plane
        .run("UPDATE control.lease SET expires_at = clock_timestamp()")
        .await;
    let before = plane.picture().await;
    let settled = maintain_once(&plane.state, RingName::Access, Some(&fence)).await;
    assert!(matches!(settled, Err(KeyError::LeaseLost)), "{settled:?}");
    let turned = turn(&plane.state, RingName::Access, Some(&fence)).await;
    assert!(matches!(turned, Err(KeyError::LeaseLost)), "{turned:?}");
    assert_eq!(plane.picture().await, before);

    let fence = lease.hold(&plane.state.db).await.unwrap().unwrap();
    let done = maintain_once(&plane.state, RingName::Access, Some(&fence))
        .await
        .unwrap();
    assert!(done.activated.is_some() && done.retired.len() == 1, "{done:?}");
}

#[tokio::test]
async fn a_gateway_that_follows_no_key_sets_is_waited_for_by_nobody() {
    let plane = Plane::start().await;
    plane.pass(330).await;
    plane.gateway("edge-1", None).await;
    let says = async |is_followed: bool| {
        plane
            .run(&format!(
                "INSERT INTO control.node_stream (node, stream, is_followed) VALUES ('edge-1', 'keyset', {is_followed})
                     ON CONFLICT (node, stream) DO UPDATE SET is_followed = {is_followed}"
            ))
            .await;
    };
    says(true).await;
    assert_eq!(plane.rotate().await.2["gateways"], json!(["edge-1"]));
    says(false).await;
    assert_eq!(plane.rotate().await.0, StatusCode::OK);
}

impl Plane {
    /// Says, with the rights of core-api, what a verifier holds of a ring, and for how long it is to be waited for.
    async fn verifier(&self, ring: &str, seq: i64, live_s: i32) {
        let core = self.database.pool_as("portico_core");
        let sql = format!("SELECT control.note_verifier('core-1', '{ring}', {seq}, {live_s})");
        core.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
    }
}

#[tokio::test]
async fn g2_a_verifier_that_reads_the_rings_itself_is_waited_for_in_each_of_them_until_it_is_silent() {
    for ring in ["access", "stepup"] {
        let plane = Plane::without_a_ring().await;
        complete(&plane.state).await;
        plane.pass(330).await;
        let path = format!("/internal/keys/rotate?ring={ring}");
        plane.verifier(ring, 0, 60).await;
        let (status, _, body) = plane.call("POST", &path).await;
        assert_eq!(
            (status, body["type"].as_str(), &body["gateways"]),
            (StatusCode::CONFLICT, Some(POSTPONED), &json!(["core-1"])),
            "{ring}"
        );
        // No other ring waits for it.
        let (status, ..) = plane.call("POST", "/internal/keys/rotate?ring=audit").await;
        assert_eq!(status, StatusCode::OK);
        plane.verifier(ring, 1, 60).await;
        assert_eq!(plane.call("POST", &path).await.0, StatusCode::OK, "{ring}");

        plane.pass(330).await;
        assert_eq!(
            plane.call("POST", &path).await.0,
            StatusCode::CONFLICT,
            "it is behind again"
        );
        plane
            .run("UPDATE control.verifier SET live_until = clock_timestamp()")
            .await;
        assert_eq!(plane.call("POST", &path).await.0, StatusCode::OK, "it is silent");
        plane.verifier(ring, 0, 0).await;
        assert_eq!(plane.number("SELECT count(*) FROM control.verifier").await, 0);
    }
}
