//! Rate limits, as a client sees them.

use reqwest::Response;
use serde_json::json;

use crate::clients::problem;
use crate::gateway_process::GatewayProcess;

fn seconds(answer: &Response, header: &str) -> u64 {
    answer.headers()[header].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_third_of_two_is_limited_and_told_when_to_come_back() {
    let gateway = GatewayProcess::start().await;
    for left in [1, 0] {
        let answer = gateway.get("/api/v1/scarce").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["ratelimit-policy"], r#""scarce";q=2;w=60"#);
        let state = answer.headers()["ratelimit"].to_str().unwrap();
        assert!(state.starts_with(&format!(r#""scarce";r={left};t="#)), "{state}");
    }
    let limited = gateway.get("/api/v1/scarce").await;
    let retry_after = seconds(&limited, "retry-after");
    assert!((1..=30).contains(&retry_after), "{retry_after}");
    assert_eq!(
        limited.headers()["ratelimit"],
        format!(r#""scarce";r=0;t={retry_after}"#)
    );
    let document = problem(limited, 429, "quota-exceeded").await;
    assert_eq!(document["retry_after"], retry_after);
    assert_eq!(document["violated-policies"], json!(["scarce"]));

    assert_eq!(
        gateway.core.seen().len(),
        2,
        "a limited request does not reach the core"
    );
    assert_eq!(
        gateway
            .metric(r#"portico_limit_decisions_total{outcome="denied",policy="scarce",store="local"}"#)
            .await,
        Some(1)
    );
}

async fn log_in(gateway: &GatewayProcess, email: &str) -> Response {
    let body = json!({"email": email, "password": "wrong"});
    gateway
        .client()
        .post(gateway.url("/api/v1/auth/login"))
        .json(&body)
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn the_sixth_wrong_log_in_is_limited_and_other_people_are_not() {
    let gateway = GatewayProcess::start().await;
    for _ in 0..5 {
        gateway.core.answer_next(401);
        assert_eq!(log_in(&gateway, "alice@bank.example").await.status(), 401);
    }
    // Another spelling of the same address is the same person.
    problem(
        log_in(&gateway, "Alice@bank.example ").await,
        429,
        "quota-exceeded",
    )
    .await;
    assert_eq!(gateway.core.seen().len(), 5);
    assert_eq!(log_in(&gateway, "bob@bank.example").await.status(), 200);
}

#[tokio::test]
async fn good_log_ins_are_free_and_so_are_our_own_failures() {
    let mut gateway = GatewayProcess::start().await;
    for _ in 0..8 {
        assert_eq!(log_in(&gateway, "alice@bank.example").await.status(), 200);
    }
    for _ in 0..8 {
        gateway.core.answer_next(500);
        assert_eq!(log_in(&gateway, "alice@bank.example").await.status(), 500);
    }
    gateway.core.kill();
    for _ in 0..8 {
        assert_eq!(log_in(&gateway, "alice@bank.example").await.status(), 503);
    }
    gateway.core.revive();
    for _ in 0..5 {
        gateway.core.answer_next(401);
        assert_eq!(log_in(&gateway, "alice@bank.example").await.status(), 401);
    }
    assert_eq!(log_in(&gateway, "alice@bank.example").await.status(), 429);
}

#[tokio::test]
async fn the_body_that_was_counted_is_the_body_that_arrives() {
    let gateway = GatewayProcess::start().await;
    let padding = "x".repeat(3_000);
    let body = json!({"email": "alice@bank.example", "password": padding}).to_string();
    let client = gateway.client();
    let sized = client
        .post(gateway.url("/api/v1/auth/login"))
        .body(body.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(sized.status(), 200);
    assert_eq!(gateway.core.last().body, body.as_bytes());

    let pieces: Vec<_> = body
        .as_bytes()
        .chunks(700)
        .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()))
        .collect();
    let chunked = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    let chunked = client
        .post(gateway.url("/api/v1/auth/login"))
        .body(chunked)
        .send()
        .await
        .unwrap();
    assert_eq!(chunked.status(), 200);
    assert_eq!(gateway.core.last().body, body.as_bytes());

    let too_large = client
        .post(gateway.url("/api/v1/auth/login"))
        .body(vec![b'a'; 5_000]);
    problem(too_large.send().await.unwrap(), 413, "payload-too-large").await;
}
