//! Every ring there is, each with keys of its own.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use http::StatusCode;
use keyring::{Algorithm, RingName};
use sqlx::Row as _;

use super::{Plane, states};
use crate::signing_keys::{complete, sign};
use crate::state::AppState;

#[tokio::test]
async fn every_ring_is_complete_and_turns_alone() {
    let plane = Plane::without_a_ring().await;
    complete(&plane.state).await;
    plane.pass(330).await;
    let rotated = plane.call("POST", "/internal/keys/rotate?ring=webhook").await;
    assert_eq!(
        (rotated.0, &rotated.2["ring"]),
        (StatusCode::OK, &"webhook".into())
    );
    for ring in RingName::ALL {
        let (status, _, body) = plane.call("GET", &format!("/internal/keys?ring={ring}")).await;
        assert_eq!((status, &body["ring"]), (StatusCode::OK, &ring.as_str().into()));
        let expected = if ring == RingName::Webhook {
            vec!["active", "published", "retiring"]
        } else {
            vec!["active", "published"]
        };
        assert_eq!(states(&body), expected, "{body}");
    }
    for path in ["/internal/keys?ring=tokens", "/internal/keys?rings=access"] {
        assert_eq!(plane.call("GET", path).await.0, StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn core_api_sees_no_key_that_signs_for_gateways_or_auditors() {
    let plane = Plane::without_a_ring().await;
    complete(&plane.state).await;
    let rings: Vec<String> = plane
        .row("SELECT array_agg(ring ORDER BY ring) FROM control.active_signing_key")
        .await
        .get(0);
    assert_eq!(rings, ["access", "stepup"]);
}

#[tokio::test]
async fn what_is_signed_with_a_ring_verifies_with_its_active_key_alone() {
    let plane = Plane::without_a_ring().await;
    assert!(sign(&plane.state, RingName::Bundle, b"statement").await.is_err());
    complete(&plane.state).await;
    let (kid, signature) = sign(&plane.state, RingName::Bundle, b"statement").await.unwrap();
    let row = plane
        .row("SELECT kid, public_key FROM control.signing_key WHERE ring = 'bundle' AND state = 'active'")
        .await;
    assert_eq!(row.get::<String, _>("kid"), kid);
    let public = row.get::<Vec<u8>, _>("public_key");
    let key = UnparsedPublicKey::new(&ED25519, &public);
    key.verify(b"statement", &signature).unwrap();
    assert!(key.verify(b"another statement", &signature).is_err());
}

#[tokio::test]
async fn gateways_are_told_with_ed25519_whatever_the_settings_prefer() {
    let plane = Plane::without_a_ring().await;
    let mut settings = super::settings();
    settings.rotation.algorithm = Algorithm::ES256;
    let shutdown = plane.state.shutdown.clone();
    let state = AppState::new(&settings, plane.state.db.clone(), shutdown).unwrap();
    complete(&state).await;
    let rows = plane
        .number("SELECT count(*) FROM control.signing_key WHERE (ring = 'bundle') <> (algorithm = 'EdDSA')")
        .await;
    assert_eq!(rows, 0);
}
