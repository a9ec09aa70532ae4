//! What the policy says is what happens, and every answer is dressed.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::clients::{assert_dressed, problem};
use crate::gateway_process::GatewayProcess;

#[tokio::test]
async fn a_permitted_request_reaches_the_core_and_its_answer_is_dressed() {
    let gateway = GatewayProcess::start().await;
    let answer = gateway.get_with("/api/v1/me", &gateway.keys.token()).await;

    assert_eq!(answer.status(), 200);
    assert_dressed(&answer);
    assert_eq!(answer.text().await.unwrap(), r#"{"from":"core"}"#);
    assert_eq!(gateway.core.last().target, "/api/v1/me");
}

#[tokio::test]
async fn nothing_that_is_refused_reaches_the_core() {
    let gateway = GatewayProcess::start().await;
    let client = gateway.client();
    let token = gateway.keys.token_with(&json!({"scope": "accounts:read"}));

    problem(gateway.get("/api/v1/me").await, 401, "unauthenticated").await;
    problem(gateway.get("/api/v1/nowhere").await, 404, "not-found").await;
    let post = client
        .post(gateway.url("/api/v1/transfers"))
        .bearer_auth(&token)
        .json(&json!({}));
    let denied = post.send().await.unwrap();
    let challenge = denied.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains(r#"error="insufficient_scope""#), "{challenge}");
    problem(denied, 403, "forbidden").await;
    let put = client.put(gateway.url("/api/v1/transfers")).send().await.unwrap();
    assert_eq!(put.headers()["allow"], "OPTIONS, POST");
    problem(put, 405, "method-not-allowed").await;
    let other_host = client
        .get(gateway.url("/api/v1/me"))
        .header("host", "evil.example")
        .send()
        .await
        .unwrap();
    problem(other_host, 421, "misdirected-request").await;

    assert_eq!(gateway.core.seen().len(), 0);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_however_it_comes() {
    let gateway = GatewayProcess::start().await;
    let client = gateway.client();
    let post = || {
        client
            .post(gateway.url("/api/v1/transfers"))
            .bearer_auth(gateway.keys.token())
    };

    let fits = post().body(vec![b'a'; 1024]).send().await.unwrap();
    assert_eq!(fits.status(), 200);
    assert_eq!(gateway.core.last().body.len(), 1024);

    let announced = post().body(vec![b'a'; 1025]).send().await.unwrap();
    problem(announced, 413, "payload-too-large").await;

    let chunks = (0..20).map(|_| Ok::<_, std::io::Error>(vec![b'a'; 100]));
    let streamed = post()
        .body(reqwest::Body::wrap_stream(futures::stream::iter(chunks)))
        .send()
        .await
        .unwrap();
    problem(streamed, 413, "payload-too-large").await;
}

#[tokio::test]
async fn no_body_is_read_for_a_request_that_its_head_refuses() {
    let gateway = GatewayProcess::start().await;
    let login = |host: &str, target: &str| {
        format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 50\r\n\r\n")
    };
    // The body never comes: whoever waited for it would answer 408.
    for (host, target, status) in [
        ("other.example", "/api/v1/auth/login", 421),
        ("localhost", "/api/v1/auth/%6Cogin", 400),
    ] {
        let answer = gateway.raw(login(host, target).as_bytes()).await;
        assert_eq!(answer.status(), status, "{}", answer.0);
    }
}

#[tokio::test]
async fn rd1_plain_http_redirects_reading_and_refuses_credentials() {
    let gateway = GatewayProcess::start().await;
    // Found on the plain port, by a client that knows the same name.
    let client = gateway
        .client_builder()
        .resolve("localhost", gateway.http)
        .build()
        .unwrap();
    let url = format!(
        "http://localhost:{}/api/v1/rates/eur-usd?at=now",
        gateway.http.port()
    );

    let redirected = client.get(&url).send().await.unwrap();
    assert_eq!(redirected.status(), 308);
    assert_eq!(
        redirected.headers()["location"],
        gateway.url("/api/v1/rates/eur-usd?at=now")
    );
    assert_eq!(
        redirected.headers().get("strict-transport-security"),
        None,
        "RD-4"
    );
    assert_eq!(redirected.headers()["x-content-type-options"], "nosniff");

    let post = client.post(&url).body("secret").send().await.unwrap();
    assert_eq!(post.status(), 403);
    let token = client.get(&url).bearer_auth("x").send().await.unwrap();
    assert_eq!(token.status(), 403);
    assert_eq!(gateway.core.seen().len(), 0);
}

/// Closing at once would reset the connection, and a client that is still sending might never see the answer.
#[tokio::test]
async fn a_client_that_is_refused_may_finish_sending() {
    let gateway = GatewayProcess::start().await;
    let mut stream = TcpStream::connect(gateway.http).await.unwrap();
    let head = "POST /api/v1/transfers HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40960\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 403 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );

    // The gateway has closed its end, and takes what comes: a reset would meet one of these.
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    let mut pieces = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..20 {
        pieces.tick().await;
        stream.write_all(&[b'a'; 2_048]).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn head_is_answered_as_get_without_a_body() {
    let gateway = GatewayProcess::start().await;
    let client = gateway.client();
    for target in [
        "/api/v1/rates/eur-usd",
        "/.well-known/jwks.json",
        "/api/v1/nowhere",
    ] {
        let head = client.head(gateway.url(target)).send().await.unwrap();
        let get = client.get(gateway.url(target)).send().await.unwrap();
        assert_eq!(head.status(), get.status(), "{target}");
        assert_dressed(&head);
        assert_eq!(head.bytes().await.unwrap().len(), 0, "{target}");
    }
}

#[tokio::test]
async fn requests_are_counted_by_route_method_and_status() {
    let gateway = GatewayProcess::start().await;
    gateway.get("/api/v1/me").await;
    gateway.get("/api/v1/me").await;

    let by_route = r#"portico_requests_total{method="GET",route="show_me",status="401"}"#;
    gateway.counts(by_route, 2).await;
    let by_reason = r#"portico_tokens_total{issuer="customers",reason="missing",result="refused"}"#;
    gateway.counts(by_reason, 2).await;
    assert_eq!(gateway.metric("portico_policy_directory_ok").await, Some(1));
    assert!(
        gateway
            .private_text("/health/ready")
            .await
            .contains(r#""status":"ready""#)
    );
}
