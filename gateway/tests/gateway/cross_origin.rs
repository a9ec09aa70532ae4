//! Cross-origin rules (Fetch standard): preflights are answered here, refusals can be read by the origins that may ask.

use crate::clients::assert_dressed;
use crate::gateway_process::GatewayProcess;

const APP: &str = "https://app.bank.example";

#[tokio::test]
async fn a_preflight_is_answered_without_credentials_and_without_the_core() {
    let gateway = GatewayProcess::start().await;
    let preflight = |origin: &'static str| {
        gateway
            .client()
            .request(http::Method::OPTIONS, gateway.url("/api/v1/transfers"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type,idempotency-key",
            )
            .send()
    };
    let allowed = preflight(APP).await.unwrap();
    assert_eq!(allowed.status(), 204);
    assert_dressed(&allowed);
    assert_eq!(
        allowed
            .headers()
            .get_all("access-control-allow-origin")
            .iter()
            .count(),
        1
    );
    assert_eq!(allowed.headers()["access-control-allow-origin"], APP);
    let methods = allowed.headers()["access-control-allow-methods"]
        .to_str()
        .unwrap();
    assert!(methods.contains("POST"), "{methods}");
    assert_eq!(allowed.headers()["access-control-max-age"], "600");

    let refused = preflight("https://evil.example").await.unwrap();
    assert_eq!(refused.status(), 403);
    assert_eq!(refused.headers().get("access-control-allow-origin"), None);
    assert_eq!(gateway.core.seen().len(), 0);
}

#[tokio::test]
async fn j44_refusals_can_be_read_by_the_app() {
    let gateway = GatewayProcess::start().await;
    let client = gateway.client();
    let get =
        |target: &str, origin: &'static str| client.get(gateway.url(target)).header("origin", origin).send();

    let unauthenticated = get("/api/v1/me", APP).await.unwrap();
    assert_eq!(unauthenticated.status(), 401);
    assert_eq!(unauthenticated.headers()["access-control-allow-origin"], APP);
    for _ in 0..2 {
        get("/api/v1/scarce", APP).await.unwrap();
    }
    let limited = get("/api/v1/scarce", APP).await.unwrap();
    assert_eq!(limited.status(), 429);
    assert_eq!(limited.headers()["access-control-allow-origin"], APP);
    assert!(
        limited.headers()["access-control-expose-headers"]
            .to_str()
            .unwrap()
            .contains("etry-")
    );

    let stranger = get("/api/v1/me", "https://evil.example").await.unwrap();
    assert_eq!(stranger.headers().get("access-control-allow-origin"), None);
}

#[tokio::test]
async fn only_the_policy_speaks_about_origins() {
    let gateway = GatewayProcess::start().await;
    // The scripted core says `*` to everyone.
    let answer = gateway.get_with("/api/v1/me", &gateway.keys.token()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers().get("access-control-allow-origin"), None);
    assert_eq!(answer.headers()["vary"], "Origin");
}
