//! A rotation is taken back while that is possible.

use http::StatusCode;
use keyring::RingName;
use serde_json::Value;

use super::{Plane, states};
use crate::signing_keys::retire::maintain_once;

impl Plane {
    async fn reinstate(&self, kid: &str) -> (StatusCode, Value) {
        let path = format!("/internal/keys/reinstate?ring=access&kid={kid}");
        let (status, _, body) = self.call("POST", &path).await;
        (status, body)
    }

    async fn rotated() -> Self {
        let plane = Self::start().await;
        plane.pass(330).await;
        assert_eq!(plane.rotate().await.0, StatusCode::OK);
        plane
    }

    async fn maintain(&self) -> Option<String> {
        let done = maintain_once(&self.state, RingName::Access, None).await.unwrap();
        done.activated
    }
}

#[tokio::test]
async fn a_key_that_was_called_back_takes_over_by_itself_once_every_guard_lets_it() {
    let plane = Plane::rotated().await;
    let (old, new) = (plane.kid("retiring").await, plane.kid("active").await);
    let standby = plane.kid("published").await;
    let (status, body) = plane.reinstate(&old).await;
    assert_eq!(
        (status, &body["seq"], &body["changed"]),
        (StatusCode::OK, &3.into(), &true.into())
    );
    // Verifiers are told that it may sign again, and nothing signs with it yet.
    let set = plane.key_set().await;
    let told = set.keys.iter().find(|key| key.kid == old).unwrap();
    assert_eq!((told.state.as_str(), told.sign_until), ("published", None));
    assert_eq!(plane.kid("active").await, new);
    assert_eq!(plane.maintain().await, None);

    plane.gateway("edge-1", Some(2)).await;
    plane.pass(330).await;
    assert_eq!(
        plane.maintain().await,
        None,
        "a gateway would call its tokens forged"
    );
    plane.gateway("edge-1", Some(3)).await;
    assert_eq!(plane.maintain().await, Some(old.clone()));
    assert_eq!(
        [
            plane.kid("active").await,
            plane.kid("retiring").await,
            plane.kid("published").await
        ],
        [old, new, standby],
        "the standby was not used up"
    );
    let (token, claims) = plane.sign().await;
    assert_eq!(plane.verify(&token, claims.iat).await, Ok(claims));
}

#[tokio::test]
async fn calling_back_twice_changes_nothing_and_a_rotation_by_hand_prefers_the_key() {
    let plane = Plane::rotated().await;
    let old = plane.kid("retiring").await;
    assert_eq!(plane.reinstate(&old).await.0, StatusCode::OK);
    let before = plane.picture().await;
    let (status, body) = plane.reinstate(&old).await;
    assert_eq!((status, &body["changed"]), (StatusCode::OK, &false.into()));
    assert_eq!(plane.picture().await, before);
    assert_eq!(plane.rotate().await.0, StatusCode::CONFLICT);
    plane.pass(330).await;
    let (status, _, body) = plane.rotate().await;
    assert_eq!((status, &body["active"]), (StatusCode::OK, &old.into()), "{body}");
}

#[tokio::test]
async fn a_key_is_called_back_within_the_rollback_window_only() {
    let plane = Plane::rotated().await;
    let old = plane.kid("retiring").await;
    for kid in [plane.kid("active").await, plane.kid("published").await] {
        let (status, body) = plane.reinstate(&kid).await;
        assert_eq!(status, StatusCode::CONFLICT);
        assert_eq!(body["type"], "urn:portico:problem:not-reinstatable");
    }
    assert_eq!(plane.reinstate("nobody").await.0, StatusCode::NOT_FOUND);
    // The window of these tests is 105 s; the private part is still there until maintenance has run.
    plane.pass(106).await;
    let before = plane.picture().await;
    let (status, body) = plane.reinstate(&old).await;
    assert_eq!(status, StatusCode::CONFLICT, "{body}");
    assert_eq!(plane.picture().await, before);
}

#[tokio::test]
async fn an_emergency_during_a_reinstatement_leaves_both_to_their_end() {
    let plane = Plane::rotated().await;
    let (old, new) = (plane.kid("retiring").await, plane.kid("active").await);
    assert_eq!(plane.reinstate(&old).await.0, StatusCode::OK);
    let path = format!("/internal/keys/revoke?ring=access&kid={new}");
    assert_eq!(plane.call("POST", &path).await.0, StatusCode::OK);
    assert_eq!(
        states(&plane.keys().await),
        ["active", "published", "published", "revoked"]
    );
    // It has signed: it retires or is revoked, and is not set aside.
    let path = format!("/internal/keys/abort?ring=access&kid={old}");
    let (_, _, body) = plane.call("POST", &path).await;
    assert_eq!(body["type"], "urn:portico:problem:key-in-use");
    plane.pass(330).await;
    assert_eq!(plane.maintain().await, Some(old));
}
