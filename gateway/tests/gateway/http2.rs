//! HTTP/2: the same rules, the same answers.

use futures::StreamExt as _;
use http::{Method, Version};
use serde_json::json;

use crate::clients::{assert_dressed, problem};
use crate::gateway_process::GatewayProcess;

fn client(gateway: &GatewayProcess) -> reqwest::Client {
    gateway.client_builder().build().unwrap()
}

#[tokio::test]
async fn http2_is_negotiated_and_reaches_the_core() {
    let gateway = GatewayProcess::start().await;
    let client = client(&gateway);
    let answer = client
        .post(gateway.url("/api/v1/transfers?dry_run=true"))
        .bearer_auth(gateway.keys.token())
        .json(&json!({"amount": 1}))
        .send()
        .await
        .unwrap();

    assert_eq!(answer.version(), Version::HTTP_2);
    assert_eq!(answer.status(), 200);
    assert_dressed(&answer);
    let seen = gateway.core.last();
    assert_eq!(seen.target, "/api/v1/transfers?dry_run=true");
    assert_eq!(
        seen.header("host"),
        Some(format!("localhost:{}", gateway.https.port()).as_str())
    );
    assert_eq!(seen.body, br#"{"amount":1}"#);
    assert_eq!(seen.header("x-auth-subject"), Some("usr_alice"));
}

#[tokio::test]
async fn many_streams_share_a_connection() {
    let gateway = GatewayProcess::start().await;
    let client = client(&gateway);
    client
        .get(gateway.url("/api/v1/rates/first"))
        .send()
        .await
        .unwrap();
    let requests = (0..200).map(|number| {
        client
            .get(gateway.url(&format!("/api/v1/rates/p{number}")))
            .send()
    });
    for answer in futures::future::join_all(requests).await {
        assert_eq!(answer.unwrap().status(), 200);
    }
    assert_eq!(gateway.core.seen().len(), 201);
    // One of them is that of the client that waited until the gateway was ready.
    assert_eq!(
        gateway
            .metric(r#"portico_tls_handshakes_total{outcome="TLSv1_3"}"#)
            .await,
        Some(2)
    );
}

#[tokio::test]
async fn refusals_are_the_same_as_in_http1() {
    let gateway = GatewayProcess::start().await;
    let client = client(&gateway);
    problem(
        client.get(gateway.url("/api/v1/me")).send().await.unwrap(),
        401,
        "unauthenticated",
    )
    .await;
    problem(
        client.get(gateway.url("/api/v1/nowhere")).send().await.unwrap(),
        404,
        "not-found",
    )
    .await;
    let large = client
        .post(gateway.url("/api/v1/transfers"))
        .bearer_auth(gateway.keys.token());
    problem(
        large.body(vec![b'a'; 5_000]).send().await.unwrap(),
        413,
        "payload-too-large",
    )
    .await;

    let underscore = client
        .get(gateway.url("/api/v1/rates/a"))
        .header("x_auth_subject", "usr_1");
    problem(underscore.send().await.unwrap(), 400, "malformed-request").await;
    let twice = client
        .get(gateway.url("/api/v1/rates/a"))
        .header("traceparent", "a")
        .header("traceparent", "b");
    problem(twice.send().await.unwrap(), 400, "malformed-request").await;
    let body = client
        .request(Method::DELETE, gateway.url("/api/v1/rates/a"))
        .body("x");
    problem(body.send().await.unwrap(), 400, "malformed-request").await;
    let expectation = client
        .get(gateway.url("/api/v1/rates/a"))
        .header("expect", "a-miracle");
    problem(expectation.send().await.unwrap(), 417, "expectation-failed").await;
    assert_eq!(gateway.core.seen().len(), 0);
}

#[tokio::test]
async fn log_ins_are_counted_over_http2_too() {
    let gateway = GatewayProcess::start().await;
    let client = client(&gateway);
    let log_in = || {
        let body = json!({"email": "alice@bank.example", "password": "wrong"});
        client.post(gateway.url("/api/v1/auth/login")).json(&body).send()
    };
    for _ in 0..5 {
        gateway.core.answer_next(401);
        assert_eq!(log_in().await.unwrap().status(), 401);
    }
    problem(log_in().await.unwrap(), 429, "quota-exceeded").await;
    assert!(gateway.core.last().body.starts_with(b"{\"email\""));
}

#[tokio::test]
async fn a_body_that_stops_is_cut_and_the_core_is_not_blamed() {
    let gateway = GatewayProcess::start().await;
    let stalled =
        futures::stream::iter([Ok::<_, std::io::Error>(vec![b'a'; 10])]).chain(futures::stream::pending());
    let post = client(&gateway)
        .post(gateway.url("/api/v1/transfers"))
        .bearer_auth(gateway.keys.token());
    let answer = post
        .body(reqwest::Body::wrap_stream(stalled))
        .send()
        .await
        .unwrap();
    problem(answer, 408, "request-timeout").await;
}
