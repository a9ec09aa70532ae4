//! What the core sees: our facts, the verified identity, and nothing that a client claims about itself.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use crate::core_service::long_body;
use crate::gateway_process::{GatewayProcess, POLICY, eventually};

#[tokio::test]
async fn ad7_j34_j46_identity_comes_from_the_token_only() {
    let gateway = GatewayProcess::start().await;
    let token = gateway.keys.token();
    let request = gateway
        .client()
        .get(gateway.url("/api/v1/me"))
        .bearer_auth(&token)
        .header("x-auth-subject", "usr_mallory")
        .header("x-auth-role", "admin")
        .header("x-auth-scopes", "everything")
        .header("x-auth-tenant", "ten_other");
    assert_eq!(request.send().await.unwrap().status(), 200);

    let seen = gateway.core.last();
    assert_eq!(seen.header("x-auth-subject"), Some("usr_alice"));
    assert_eq!(seen.header("x-auth-session"), Some("ses_1"));
    assert_eq!(seen.header("x-auth-tenant"), Some("ten_1"));
    assert_eq!(
        seen.header("x-auth-scopes"),
        Some("accounts:read transfers:write")
    );
    assert_eq!(seen.header("x-auth-role"), None);
    assert_eq!(
        seen.header("authorization"),
        Some(format!("Bearer {token}").as_str()),
        "policy: forward"
    );
}

#[tokio::test]
async fn a_route_for_anyone_carries_no_identity_at_all() {
    let gateway = GatewayProcess::start().await;
    let request = gateway
        .client()
        .get(gateway.url("/api/v1/rates/eur-usd"))
        .bearer_auth("anything")
        .header("x-auth-subject", "usr_mallory");
    assert_eq!(request.send().await.unwrap().status(), 200);

    let seen = gateway.core.last();
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(seen.header("x-auth-subject"), None);
}

#[tokio::test]
async fn ad1_what_a_client_says_about_its_way_is_replaced_by_what_we_know() {
    let gateway = GatewayProcess::start().await;
    let mut request = gateway.client().get(gateway.url("/api/v1/rates/eur-usd"));
    for name in [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-anything",
        "x-real-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "x-http-method-override",
        "x-original-url",
        "x-rewrite-url",
    ] {
        request = request.header(name, "10.9.8.7");
    }
    assert_eq!(request.send().await.unwrap().status(), 200);

    let seen = gateway.core.last();
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(
        seen.header("x-forwarded-host"),
        Some(format!("localhost:{}", gateway.https.port()).as_str())
    );
    let leaked: Vec<_> = seen
        .headers
        .iter()
        .filter(|(_, value)| value.as_bytes().starts_with(b"10.9"))
        .collect();
    assert!(leaked.is_empty(), "{leaked:?}");
}

#[tokio::test]
async fn edg7_ad8_ad9_every_request_has_an_id_and_a_trace() {
    let gateway = GatewayProcess::start().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let send = |traceparent: &'static str| {
        gateway
            .client()
            .get(gateway.url("/api/v1/rates/eur-usd"))
            .header("x-request-id", "chosen-by-the-client")
            .header("traceparent", traceparent)
            .header("tracestate", "vendor=1")
            .send()
    };
    let answer = send(trace).await.unwrap();
    let seen = gateway.core.last();
    let id = answer.headers()["x-request-id"].to_str().unwrap();
    assert_eq!(id, "chosen-by-the-client");
    assert_eq!(seen.header("x-request-id"), Some(id));
    let parent = seen.header("traceparent").unwrap();
    assert!(
        parent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"),
        "{parent}"
    );
    assert_ne!(parent, trace, "the gateway is a call of its own");
    assert_eq!(seen.header("tracestate"), Some("vendor=1"));
    assert_eq!(answer.headers()["traceresponse"], parent);

    send("00-00000000000000000000000000000000-00f067aa0ba902b7-01")
        .await
        .unwrap();
    let seen = gateway.core.last();
    assert!(
        !seen
            .header("traceparent")
            .unwrap()
            .contains("00000000000000000000000000000000")
    );
    assert_eq!(seen.header("tracestate"), None);
}

#[tokio::test]
async fn edg7_ad8_an_id_of_another_form_is_replaced() {
    let gateway = GatewayProcess::start().await;
    let long = "a".repeat(65);
    for bad in ["short-1", "with space 123", "quote\"12345", "slash/1234", &long] {
        let request = gateway.client().get(gateway.url("/api/v1/rates/eur-usd"));
        let answer = request.header("x-request-id", bad).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_ne!(answer.headers()["x-request-id"], bad);
        assert_eq!(
            gateway.core.last().header("x-request-id"),
            Some(answer.headers()["x-request-id"].to_str().unwrap())
        );
    }
}

#[tokio::test]
async fn fr8_expect_is_answered_here_and_not_passed_on() {
    let gateway = GatewayProcess::start().await;
    let body = r#"{"email":"a@bank.example","password":"x"}"#;
    for target in ["/api/v1/auth/login", "/api/v1/transfers"] {
        let request = gateway
            .client()
            .post(gateway.url(target))
            .bearer_auth(gateway.keys.token())
            .header("expect", "100-continue")
            .body(body);
        assert_eq!(request.send().await.unwrap().status(), 200, "{target}");
        let seen = gateway.core.last();
        assert_eq!(seen.header("expect"), None, "{target}");
        assert_eq!(seen.body, body.as_bytes(), "{target}");
    }
}

#[tokio::test]
async fn queries_and_bodies_pass_unchanged() {
    let gateway = GatewayProcess::start().await;
    gateway.get("/api/v1/rates/eur-usd?at=2026-01-01&x=%20y").await;
    assert_eq!(
        gateway.core.last().target,
        "/api/v1/rates/eur-usd?at=2026-01-01&x=%20y"
    );

    let order = json!({"amount": 5});
    let request = gateway
        .client()
        .post(gateway.url("/api/v1/transfers"))
        .bearer_auth(gateway.keys.token())
        .header("idempotency-key", "k-1")
        .json(&order);
    request.send().await.unwrap();
    let seen = gateway.core.last();
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.header("idempotency-key"), Some("k-1"));
    assert_eq!(seen.body, order.to_string().as_bytes());
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_go_on() {
    let gateway = GatewayProcess::start().await;
    let mut stream = gateway.raw_tls().await;
    let token = gateway.keys.token();
    let head = format!(
        "POST /api/v1/transfers HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    );
    for _ in 0..2 {
        stream.write_all(head.as_bytes()).await.unwrap();
        assert!(
            read_until(&mut stream, "\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 100 Continue\r\n")
        );
        stream.write_all(b"hello").await.unwrap();
        let answer = read_until(&mut stream, "}").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert_eq!(gateway.core.last().body, b"hello");
    }
    assert_eq!(gateway.core.seen().len(), 2, "the connection is kept");
}

#[tokio::test]
async fn requests_sent_early_are_answered_in_their_order() {
    let gateway = GatewayProcess::start().await;
    let held = gateway.core.hold();
    let mut stream = gateway.raw_tls().await;
    let request = |name: &str| format!("GET /api/v1/rates/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // The first two in one piece; the third while the first is being answered.
    stream
        .write_all(format!("{}{}", request("one"), request("two")).as_bytes())
        .await
        .unwrap();
    gateway.core.arrival().await;
    stream.write_all(request("three").as_bytes()).await.unwrap();
    held.add_permits(3);
    for _ in 0..3 {
        assert!(
            read_until(&mut stream, "}")
                .await
                .starts_with("HTTP/1.1 200 OK\r\n")
        );
    }
    let seen: Vec<_> = gateway.core.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(
        seen,
        ["/api/v1/rates/one", "/api/v1/rates/two", "/api/v1/rates/three"]
    );
}

async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut byte = [0; 1];
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut byte)).await;
        assert_eq!(
            read.expect("an answer in time").unwrap(),
            1,
            "closed after {text:?}"
        );
        text.push(char::from(byte[0]));
    }
    text
}

#[tokio::test]
async fn long_answers_arrive_whole() {
    let gateway = GatewayProcess::start().await;
    for client in [gateway.client(), gateway.client_builder().build().unwrap()] {
        for size in [15_000, 16_384, 16_385, 3_000_000] {
            let answer = client
                .get(gateway.url(&format!("/api/v1/rates/a?size={size}")))
                .send()
                .await
                .unwrap();
            let version = answer.version();
            assert!(
                answer.bytes().await.unwrap() == long_body(size),
                "{size} bytes over {version:?} came out wrong"
            );
        }
    }
}

#[tokio::test]
async fn no_upgrade_is_offered() {
    let gateway = GatewayProcess::start().await;
    let request = gateway
        .client()
        .get(gateway.url("/api/v1/rates/eur-usd"))
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(gateway.core.last().header("upgrade"), None);
}

#[tokio::test]
async fn a_route_that_goes_out_of_use_says_so_on_every_answer() {
    let gateway = GatewayProcess::start().await;
    let old = "because: exchange rates are published for everyone\n";
    let new = format!("{old}    deprecated: 2026-12-01\n    sunset: 2027-06-01\n");
    gateway.policy_file("base.yaml", &POLICY.replace(old, &new));
    eventually("the edit takes effect", || async {
        let answer = gateway.get("/api/v1/rates/eur-usd").await;
        answer.headers().contains_key("sunset")
    })
    .await;
    gateway.core.answer_next(404);
    let answer = gateway.get("/api/v1/rates/eur-usd").await;
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.headers()["deprecation"], "@1796083200");
    assert_eq!(answer.headers()["sunset"], "Tue, 01 Jun 2027 00:00:00 GMT");
    let other = gateway.get("/api/v1/scarce").await;
    assert!(!other.headers().contains_key("deprecation"));
}
