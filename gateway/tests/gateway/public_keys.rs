//! The JWK Set that everybody may read, from the gateway's own copy.

use serde_json::Value;

use crate::clients::{assert_dressed, problem};
use crate::gateway_process::{GatewayProcess, eventually};

#[tokio::test]
async fn the_keys_are_public_cacheable_and_have_no_private_part() {
    let mut gateway = GatewayProcess::start().await;
    gateway.keys.kill();
    let answer = gateway.get("/.well-known/jwks.json").await;

    assert_eq!(answer.status(), 200);
    assert_dressed(&answer);
    assert_eq!(answer.headers()["content-type"], "application/jwk-set+json");
    assert_eq!(
        answer.headers()["cache-control"],
        "public, max-age=300, must-revalidate"
    );
    let etag = answer.headers()["etag"].to_str().unwrap().to_owned();
    let set: Value = answer.json().await.unwrap();
    assert_eq!(set["keys"][0]["kid"], gateway.keys.key.kid());
    assert_eq!(set["keys"][0]["d"], Value::Null);

    let again = gateway
        .client()
        .get(gateway.url("/.well-known/jwks.json"))
        .header("if-none-match", etag);
    let again = again.send().await.unwrap();
    assert_eq!(again.status(), 304);
    assert_eq!(again.bytes().await.unwrap().len(), 0);
}

#[tokio::test]
async fn j40_without_keys_the_gateway_is_not_ready_and_lets_nobody_in() {
    let mut gateway = GatewayProcess::start().await;
    let token = gateway.keys.token();
    gateway.stop().await;
    gateway.keys.kill();
    std::fs::remove_dir_all(gateway.directory.path().join("state/fleet")).unwrap();
    gateway.restart().await.unwrap();

    problem(gateway.get("/health/ready").await, 503, "unavailable").await;
    assert_eq!(gateway.get("/health/live").await.status(), 200);
    problem(gateway.get("/.well-known/jwks.json").await, 503, "unavailable").await;
    let denied = gateway.get_with("/api/v1/me", &token).await;
    assert!(denied.headers().contains_key("retry-after"));
    problem(denied, 503, "unavailable").await;
    assert_eq!(gateway.core.seen().len(), 0);

    gateway.keys.revive();
    gateway.wait_for_keys().await;
    eventually("the token counts again", || async {
        gateway.get_with("/api/v1/me", &token).await.status() == 200
    })
    .await;
}
