//! What verifiers are given, and when.

use http::StatusCode;
use keyring::RingName;
use sqlx::postgres::PgListener;

use super::{DEADLINE, Plane};
use crate::signing_keys::retire::{Maintenance, maintain_once};
use crate::signing_keys::{KeyError, key_set};

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
async fn a_question_that_nobody_can_answer_is_told_what_is_wrong_with_it() {
    let plane = Plane::start().await;
    for (path, status) in [
        ("/internal/keys?ring=x", StatusCode::BAD_REQUEST),
        ("/internal/nothing", StatusCode::NOT_FOUND),
        ("/internal/keys/rotate", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let (found, headers, body) = plane.call("GET", path).await;
        assert_eq!(found, status, "{path}: {body}");
        assert_eq!(headers["content-type"], problem::CONTENT_TYPE, "{path}");
        assert_eq!(body["instance"], "urn:request:request-0001", "{path}");
    }
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
async fn an_empty_key_set_is_never_published() {
    let plane = Plane::without_a_ring().await;
    plane
        .run("INSERT INTO control.key_ring (ring, seq) VALUES ('access', 7)")
        .await;
    let read = key_set(&mut plane.state.db.acquire().await.unwrap()).await;
    assert!(matches!(read, Err(KeyError::Inconsistent(_))), "{read:?}");
}
