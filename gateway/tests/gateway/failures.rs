//! Neighbours that are away: the gateway says so, in its own words, and goes on.

use fleet::Stream;
use serde_json::json;

use crate::clients::problem;
use crate::gateway_process::{GatewayProcess, eventually};

#[tokio::test]
async fn a_core_that_is_down_is_503_and_back_at_once() {
    let mut gateway = GatewayProcess::start().await;
    assert_eq!(gateway.get("/api/v1/rates/eur-usd").await.status(), 200);
    gateway.core.kill();

    let down = gateway.get("/api/v1/rates/eur-usd").await;
    assert_eq!(down.headers()["retry-after"], "2");
    let document = problem(down, 503, "unavailable").await;
    assert_eq!(document["retry_after"], 2);

    gateway.core.revive();
    assert_eq!(gateway.get("/api/v1/rates/eur-usd").await.status(), 200);
}

#[tokio::test]
async fn ops1_without_its_upstream_the_gateway_is_not_ready() {
    let mut gateway = GatewayProcess::start().await;
    assert_eq!(gateway.get("/health/ready").await.status(), 200);
    gateway.core.kill();

    problem(gateway.get("/health/ready").await, 503, "unavailable").await;
    assert_eq!(gateway.get("/health/live").await.status(), 200);
    let report: serde_json::Value =
        serde_json::from_str(&gateway.private_text("/health/ready").await).unwrap();
    assert_eq!(report["status"], "not ready");
    assert_eq!(report["checks"]["keys"], "ok");
    assert_eq!(report["checks"]["policy"], "ok");
    let missing = report["checks"]["upstreams"].as_str().unwrap();
    assert!(missing.starts_with("core: "), "{missing}");

    gateway.core.revive();
    assert_eq!(gateway.get("/health/ready").await.status(), 200);
}

#[tokio::test]
async fn a_core_that_is_silent_is_504() {
    let gateway = GatewayProcess::start().await;
    let _held = gateway.core.hold();
    problem(
        gateway.get("/api/v1/rates/eur-usd").await,
        504,
        "upstream-timeout",
    )
    .await;
}

#[tokio::test]
async fn a_core_that_dies_in_the_middle_is_502_and_a_post_is_never_repeated() {
    let mut gateway = GatewayProcess::start().await;
    let _held = gateway.core.hold();
    let client = gateway.client();
    let post = client
        .post(gateway.url("/api/v1/transfers"))
        .bearer_auth(gateway.keys.token())
        .json(&json!({"amount": 1}))
        .send();
    let post = tokio::spawn(post);
    gateway.core.arrival().await;
    gateway.core.kill();

    let answer = post.await.unwrap().unwrap();
    problem(answer, 502, "upstream-unavailable").await;
    assert_eq!(gateway.core.seen().len(), 1, "the order was sent once");
}

#[tokio::test]
async fn connections_to_the_core_are_kept() {
    let gateway = GatewayProcess::start().await;
    let client = gateway.client();
    // Readiness has connected too; what was accepted before the first answer does not count.
    client
        .get(gateway.url("/api/v1/rates/eur-usd"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let before = gateway.core.connections();
    for _ in 0..20 {
        let answer = client
            .get(gateway.url("/api/v1/rates/eur-usd"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.text().await.unwrap(), r#"{"from":"core"}"#);
    }
    assert_eq!(gateway.core.connections(), before);
}

#[tokio::test]
async fn with_the_control_plane_away_the_gateway_serves_and_restarts() {
    let mut gateway = GatewayProcess::start().await;
    let token = gateway.keys.token();
    gateway.keys.kill();
    assert_eq!(gateway.get_with("/api/v1/me", &token).await.status(), 200);

    gateway.restart().await.unwrap();
    assert_eq!(gateway.get("/health/ready").await.status(), 200);
    assert_eq!(gateway.get_with("/api/v1/me", &token).await.status(), 200);
    eventually("the gateway notices that it is alone", || async {
        gateway.metric("portico_fleet_connected").await == Some(0)
    })
    .await;
}

#[tokio::test]
async fn an_older_key_set_is_not_taken_over() {
    let gateway = GatewayProcess::start().await;
    let fleet = &gateway.keys.fleet;
    let older = fleet.next(Stream::Keyset, &fleet.key_set());
    gateway.keys.publish(|_| {});
    eventually("the new set is there", || async {
        gateway.metric("portico_keyset_seq").await == Some(3)
    })
    .await;

    let offered = fleet.offer(Stream::Keyset, older.position, &fleet.sealed(&older));
    assert_eq!(fleet.refused(&offered).await, "replayed");
    assert_eq!(gateway.metric("portico_keyset_seq").await, Some(3));
}
