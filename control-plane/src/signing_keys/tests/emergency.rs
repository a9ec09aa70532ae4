//! A key is stolen, or set aside.

use http::StatusCode;
use keyring::{RingName, TokenRefusal};
use serde_json::Value;

use super::{Plane, call, states};
use crate::signing_keys::retire::maintain_once;

impl Plane {
    async fn end(&self, verb: &str, kid: &str) -> (StatusCode, Value) {
        let path = format!("/internal/keys/{verb}?ring=access&kid={kid}&reason=found+in+a+dump");
        let (status, _, body) = call(self.router(), "POST", &path, Some("ada")).await;
        (status, body)
    }
}

#[tokio::test]
async fn a_stolen_active_key_is_replaced_in_one_step_and_verifies_nothing() {
    let plane = Plane::start().await;
    let (stolen, standby) = (plane.kid("active").await, plane.kid("published").await);
    let (token, claims) = plane.sign().await;
    // The standby is young and a gateway is behind: an emergency waits for neither.
    plane.gateway("edge-1", None).await;

    let (status, body) = plane.end("revoke", &stolen).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(
        (&body["changed"], &body["active"], &body["seq"]),
        (&true.into(), &standby.clone().into(), &2.into())
    );
    assert_eq!(plane.kid("active").await, standby);
    assert_eq!(plane.kid("published").await, body["standby"].as_str().unwrap());
    assert_eq!(
        plane.verify(&token, claims.iat).await,
        Err(TokenRefusal::RevokedKey)
    );
    let private = "SELECT count(*) FROM control.signing_key
                    WHERE state = 'revoked' AND (sealed_private_key IS NOT NULL OR wrapped_data_key IS NOT NULL)";
    assert_eq!(plane.number(private).await, 0);
    let (new_token, new_claims) = plane.sign().await;
    assert_eq!(plane.verify(&new_token, new_claims.iat).await, Ok(new_claims));
}

#[tokio::test]
async fn revoking_twice_or_at_once_costs_one_key() {
    let plane = Plane::start().await;
    let stolen = plane.kid("active").await;
    let (one, two) = tokio::join!(plane.end("revoke", &stolen), plane.end("revoke", &stolen));
    assert_eq!((one.0, two.0), (StatusCode::OK, StatusCode::OK));
    assert_ne!(one.1["changed"], two.1["changed"]);
    let before = plane.picture().await;
    let again = plane.end("revoke", &stolen).await;
    assert_eq!((again.0, &again.1["changed"]), (StatusCode::OK, &false.into()));
    assert_eq!(plane.picture().await, before);
    assert_eq!(states(&plane.keys().await), ["active", "published", "revoked"]);
}

#[tokio::test]
async fn a_standby_that_is_revoked_or_set_aside_has_a_successor_at_once() {
    for verb in ["revoke", "abort"] {
        let plane = Plane::start().await;
        let (active, standby) = (plane.kid("active").await, plane.kid("published").await);
        let (status, body) = plane.end(verb, &standby).await;
        assert_eq!((status, &body["seq"]), (StatusCode::OK, &2.into()), "{body}");
        assert_eq!(plane.kid("active").await, active);
        assert_ne!(plane.kid("published").await, standby);
        let told = plane.key_set().await.revoked_kids.contains(&standby);
        assert_eq!(told, verb == "revoke", "only a revoked key is told of for ever");
        assert_eq!(plane.end(verb, &standby).await.1["changed"], false);
    }
}

#[tokio::test]
async fn a_retiring_key_is_revoked_alone_and_a_finished_one_not_at_all() {
    let plane = Plane::start().await;
    plane.pass(330).await;
    assert_eq!(plane.rotate().await.0, StatusCode::OK);
    let (active, retiring) = (plane.kid("active").await, plane.kid("retiring").await);
    let standby = plane.kid("published").await;
    assert_eq!(plane.end("revoke", &retiring).await.0, StatusCode::OK);
    assert_eq!(
        (plane.kid("active").await, plane.kid("published").await),
        (active, standby.clone())
    );

    assert_eq!(plane.end("abort", &standby).await.0, StatusCode::OK);
    let before = plane.picture().await;
    for (verb, kid, problem) in [
        ("revoke", standby.as_str(), "urn:portico:problem:key-finished"),
        (
            "abort",
            &plane.kid("active").await,
            "urn:portico:problem:key-in-use",
        ),
        ("abort", &retiring, "urn:portico:problem:key-in-use"),
        ("revoke", "nobody", "urn:portico:problem:not-found"),
    ] {
        let (status, body) = plane.end(verb, kid).await;
        assert!(
            status.is_client_error() && body["type"] == problem,
            "{verb} {kid}: {body}"
        );
    }
    assert_eq!(plane.picture().await, before);
}

#[tokio::test]
async fn a_standby_that_does_not_open_is_set_aside_first_and_then_an_emergency_goes_on() {
    let plane = Plane::start().await;
    let (stolen, broken) = (plane.kid("active").await, plane.kid("published").await);
    plane
        .run("UPDATE control.signing_key SET sealed_private_key = 'x', wrapped_data_key = NULL WHERE state = 'published'")
        .await;
    let before = plane.picture().await;
    let (status, body) = plane.end("revoke", &stolen).await;
    assert_eq!(
        (status, body["type"].as_str()),
        (StatusCode::CONFLICT, Some("urn:portico:problem:standby-unusable"))
    );
    assert_eq!(plane.picture().await, before);
    assert_eq!(plane.end("abort", &broken).await.0, StatusCode::OK);
    assert_eq!(plane.end("revoke", &stolen).await.0, StatusCode::OK);
    maintain_once(&plane.state, RingName::Access, None).await.unwrap();
    assert_eq!(
        states(&plane.keys().await),
        ["aborted", "active", "published", "revoked"]
    );
}

#[tokio::test]
async fn who_revoked_a_key_and_why_is_on_record() {
    let plane = Plane::start().await;
    let stolen = plane.kid("active").await;
    assert_eq!(plane.end("revoke", &stolen).await.0, StatusCode::OK);
    let (_, _, body) = plane.call("GET", "/internal/keys/history?ring=access").await;
    let revoked: Vec<&Value> = body["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["action"] == "signing_key.revoked")
        .collect();
    assert_eq!(revoked.len(), 1, "{body}");
    assert_eq!(
        (&revoked[0]["actor"], &revoked[0]["reason"], &revoked[0]["kid"]),
        (&"operator:ada".into(), &"found in a dump".into(), &stolen.into())
    );
    assert_eq!(
        body["events"][0]["action"], "signing_key.published",
        "the newest stands first"
    );
}
