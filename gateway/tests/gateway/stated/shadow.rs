//! A policy in shadow judges copies of requests, and touches none.

use fleet::{Stage, Stream};
use serde_json::json;

use super::control_plane::{ControlPlane, content};
use super::{LONG, member, rates, stricter};
use crate::gateway_process::POLICY;

#[tokio::test]
async fn a_policy_in_shadow_counts_what_it_would_change_and_changes_nothing() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let candidate = stricter().replace("path: /api/v1/transfers }", "path: /api/v1/payments }");
    let statement = fleet.next(Stream::Policy, &content(&candidate, &[]));
    let tried = fleet.offer_in_shadow(&statement);
    fleet.told(&tried, Stage::Active).await;
    assert_eq!(
        fleet.stages(&tried),
        [Stage::Received, Stage::Verified, Stage::Active]
    );

    let token = fleet.token(&json!({}));
    // Both let it through, by the token that was checked once.
    assert_eq!(gateway.get_with("/api/v1/me", &token).await.status(), 200);
    // Both refuse it.
    assert_eq!(gateway.get("/api/v1/me").await.status(), 401);
    // The one in force lets it through: the one in shadow wants a token.
    assert_eq!(rates(&gateway).await, 200);
    // It knows no transfers, and payments instead; of a token that nobody has checked it says nothing.
    let post = |path: &str| {
        let request = gateway.client().post(gateway.url(path));
        request.bearer_auth(&token).json(&json!({})).send()
    };
    assert_eq!(post("/api/v1/transfers").await.unwrap().status(), 200);
    assert_eq!(post("/api/v1/payments").await.unwrap().status(), 404);
    // Limits are charged once: two are granted, also beside a shadow, and the third is no request to compare.
    for status in [200, 200, 429] {
        assert_eq!(gateway.get("/api/v1/scarce").await.status(), status);
    }
    let beat = fleet
        .beats("seven are judged", |beat| {
            beat.shadow.is_some_and(|it| it.judged >= 6)
        })
        .await;
    let counts = beat.shadow.unwrap();
    assert_eq!(counts.position, statement.position);
    assert_eq!(
        (counts.judged, counts.newly_denied, counts.newly_permitted),
        (6, 2, 0)
    );
    assert_eq!(beat.active[0].position.unwrap().to_string(), "1.1");
}

#[tokio::test]
async fn a_shadow_ends_when_its_policy_comes_in_force_or_is_called_off() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let first = fleet.beats("no shadow", |beat| beat.shadow.is_none()).await;
    let statement = fleet.next(Stream::Policy, &content(&stricter(), &[]));
    let tried = fleet.offer_in_shadow(&statement);
    fleet.told(&tried, Stage::Active).await;
    fleet.beats("a shadow", |beat| beat.shadow.is_some()).await;
    assert_eq!(rates(&gateway).await, 200);

    // The same envelope, now in earnest: its position was not used up.
    let taken = fleet.offer(Stream::Policy, statement.position, &fleet.sealed(&statement));
    fleet.told(&taken, Stage::Active).await;
    assert_eq!(rates(&gateway).await, 401);
    fleet
        .beats("the shadow is over", |beat| beat.shadow.is_none())
        .await;

    let next = fleet.next(Stream::Policy, &content(POLICY, &[]));
    let tried = fleet.offer_in_shadow(&next);
    fleet.told(&tried, Stage::Active).await;
    fleet.beats("another shadow", |beat| beat.shadow.is_some()).await;
    // What is in force is what is wanted.
    fleet.offer(Stream::Policy, statement.position, &fleet.sealed(&statement));
    fleet
        .beats("it is called off", |beat| beat.shadow.is_none())
        .await;
    assert_eq!(rates(&gateway).await, 401);

    let broken = fleet.next(Stream::Policy, &content("version: 1\n", &[]));
    let tried = fleet.offer_in_shadow(&broken);
    assert_eq!(fleet.refused(&tried).await, "compile");
    assert_eq!(first.boot_id, fleet.heartbeats().last().unwrap().boot_id);
}
