//! What verifiers are given, and when.

use http::StatusCode;
use keyring::{KeySet, RingName};
use sqlx::postgres::PgListener;

use super::{DEADLINE, Plane, call};
use crate::signing_keys::follow;
use crate::signing_keys::retire::{Maintenance, maintain_once};

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_verifier_is_woken_by_a_rotation() {
    let mut plane = Plane::start().await;
    plane.pass(330).await;
    // The other instance rotates: only the database can have told this one.
    let twin = plane.twin();
    let task = plane
        .state
        .shutdown
        .spawn(follow(plane.state.clone(), plane.changes.take().unwrap()));

    let waiting = call(plane.router(), "GET", "/internal/keyset?after=1&wait_s=60", None);
    let rotate = async {
        // The waiting request has read the old key set, and gave its connection back.
        plane
            .wait_for("state = 'idle' AND query LIKE '%LEFT JOIN control.signing_key%'")
            .await;
        call(crate::router::router(twin), "POST", "/internal/keys/rotate", None).await
    };
    let ((status, headers, body), rotated) =
        tokio::time::timeout(DEADLINE, async { tokio::join!(waiting, rotate) })
            .await
            .unwrap();
    assert_eq!((status, rotated.0), (StatusCode::OK, StatusCode::OK));
    assert_eq!(headers["cache-control"], "no-store");
    let set: KeySet = serde_json::from_value(body).unwrap();
    assert!(
        set.seq == 2 && set.keys.len() == 3 && set.validate().is_ok(),
        "{set:?}"
    );

    plane.state.shutdown.trigger();
    task.await.unwrap();
}

#[tokio::test]
async fn the_database_announces_every_change_of_the_ring() {
    let plane = Plane::start().await;
    plane.pass(330).await;
    let mut listener = PgListener::connect_with(&plane.owner).await.unwrap();
    listener.listen("portico_key_ring").await.unwrap();
    assert_eq!(plane.rotate().await.0, StatusCode::OK);
    let told = tokio::time::timeout(DEADLINE, listener.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(told.payload(), "access");
}

#[tokio::test]
async fn an_unchanged_key_set_is_204_and_a_newer_one_is_given_at_once() {
    let plane = Plane::start().await;
    for (path, status) in [
        ("/internal/keyset", StatusCode::OK),
        ("/internal/keyset?after=0&wait_s=60", StatusCode::OK),
        ("/internal/keyset?after=1", StatusCode::NO_CONTENT),
        ("/internal/keyset?after=1&wait_s=0", StatusCode::NO_CONTENT),
        ("/internal/keyset?after=2&wait_s=60", StatusCode::CONFLICT),
        ("/internal/keyset?after=x", StatusCode::BAD_REQUEST),
        ("/internal/keyset?after=1&wait=1", StatusCode::BAD_REQUEST),
        ("/internal/keyset?wait_s=-1", StatusCode::BAD_REQUEST),
        ("/internal/nothing", StatusCode::NOT_FOUND),
        ("/internal/keys/rotate", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let (found, headers, body) = plane.call("GET", path).await;
        assert_eq!(found, status, "{path}: {body}");
        if status.is_client_error() {
            assert_eq!(headers["content-type"], problem::CONTENT_TYPE, "{path}");
            assert_eq!(body["instance"], "urn:request:request-0001", "{path}");
        }
    }
    let (_, _, body) = plane.call("GET", "/internal/keyset?after=2").await;
    assert_eq!(
        (&body["type"], &body["seq"]),
        (&"urn:portico:problem:keyset-ahead".into(), &1.into())
    );
}

#[tokio::test]
async fn revoked_keys_are_told_to_verifiers_for_ever() {
    let plane = Plane::start().await;
    let standby = plane.kid("published").await;
    plane
        .run(
            "UPDATE control.signing_key SET state = 'revoked', revoked_at = clock_timestamp(), sealed_private_key = NULL,
                    wrapped_data_key = NULL
              WHERE state = 'published'",
        )
        .await;
    // Two instances notice at once; one of them publishes the new standby.
    let twin = plane.twin();
    let (one, two) = tokio::join!(
        maintain_once(&plane.state, RingName::Access, None),
        maintain_once(&twin, RingName::Access, None)
    );
    assert_eq!(
        (one.unwrap(), two.unwrap()),
        (Maintenance::default(), Maintenance::default())
    );
    let set = plane.key_set().await;
    assert_eq!(
        (set.revoked_kids, set.keys.len(), set.seq),
        (vec![standby.clone()], 2, 2)
    );
    assert_ne!(plane.kid("published").await, standby);
}

#[tokio::test]
async fn an_empty_key_set_is_never_served() {
    let plane = Plane::without_a_ring().await;
    plane
        .run("INSERT INTO control.key_ring (ring, seq) VALUES ('access', 7)")
        .await;
    let (status, _, body) = plane.call("GET", "/internal/keyset").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{body}");
}
