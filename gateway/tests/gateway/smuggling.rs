//! Raw bytes that other servers misunderstand: each is refused by us, closed behind, and never seen by the core.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::gateway_process::GatewayProcess;

/// The request that an attacker hopes will be read as a second one.
const HIDDEN: &str = "GET /api/v1/rates/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// What follows `POST /api/v1/auth/login HTTP/1.1` and its host; `HIDDEN` comes after it.
const AMBIGUOUS: [(&str, &str); 15] = [
    (
        "FR-1 CL.TE",
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "FR-1 TE.CL",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    ),
    (
        "FR-2 two lengths",
        "Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
    ),
    ("FR-2 a list of lengths", "Content-Length: 0, 44\r\n\r\n"),
    ("FR-2 a signed length", "Content-Length: +0\r\n\r\n"),
    (
        "FR-3 TE.TE",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n",
    ),
    (
        "FR-3 a disguised TE",
        "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "FR-4 space before the colon",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "FR-4 a bare LF",
        "X: 1\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("FR-4 a folded header", "X: 1\r\n Content-Length: 44\r\n\r\n"),
    ("FR-4 a bare CR", "X: 1\rContent-Length: 44\r\n\r\n"),
    ("FR-4 NUL", "X: a\0b\r\n\r\n"),
    ("FR-5 an underscore", "Content_Length: 44\r\n\r\n"),
    ("FR-6 two hosts", "Host: evil.example\r\n\r\n"),
    ("FR-10 taking the token away", "Connection: authorization\r\n\r\n"),
];

/// Whole heads, `HIDDEN` behind them.
const MALFORMED: [(&str, &str); 7] = [
    (
        "FR-7 a body on GET",
        "GET /api/v1/rates/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 44\r\n\r\n",
    ),
    (
        "PA-2 a space in the target",
        "GET /api/v1/rates/a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ),
    (
        "PA-2 a quote in the target",
        "GET /api/v1/rates/\"a\" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ),
    (
        "PA-2 absolute form",
        "GET http://localhost/api/v1/rates/a HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ),
    (
        "PA-2 dot segments",
        "GET /api/v1/../v1/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ),
    (
        "PA-2 an encoded slash",
        "GET /api/v1%2fme HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ),
    (
        "no host",
        "GET /api/v1/rates/a HTTP/1.1\r\nConnection: close\r\n\r\n",
    ),
];

#[tokio::test]
async fn framing_attacks_are_refused_and_the_second_request_is_not_read() {
    let gateway = GatewayProcess::start().await;
    for (name, fields) in AMBIGUOUS {
        let request = format!("POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\n{fields}{HIDDEN}");
        gateway.raw(request.as_bytes()).await.assert_refused(400, name);
    }
    for (name, head) in MALFORMED {
        gateway
            .raw(format!("{head}{HIDDEN}").as_bytes())
            .await
            .assert_refused(400, name);
    }
    assert_eq!(gateway.core.seen().len(), 0, "{:?}", gateway.core.seen());
    assert_eq!(
        gateway
            .metric(r#"portico_refused_heads_total{rule="FR-1"}"#)
            .await,
        Some(2)
    );
}

#[tokio::test]
async fn sizes_and_versions_have_their_own_refusals() {
    let gateway = GatewayProcess::start().await;
    let refused = async |status, request: &str| {
        gateway
            .raw(request.as_bytes())
            .await
            .assert_refused(status, request);
    };
    refused(405, "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    refused(505, "GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    refused(
        414,
        &format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(5_000)),
    )
    .await;
    refused(
        431,
        &format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-A: 1\r\n".repeat(80)),
    )
    .await;
    refused(
        431,
        &format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n", "a".repeat(20_000)),
    )
    .await;
}

/// A head that our reader lets through and pingora's parser refuses: its own page must not be seen.
#[tokio::test]
async fn what_pingora_refuses_by_itself_is_answered_by_us() {
    let gateway = GatewayProcess::start().await;
    let request = b"GET /api/v1/rates/a HTTP/1.1\r\nHost: user@localhost\r\n\r\n";
    gateway.raw(request).await.assert_refused(400, "userinfo in Host");
}

#[tokio::test]
async fn a_broken_chunk_ends_the_request_and_nothing_behind_it_is_read() {
    let gateway = GatewayProcess::start().await;
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "zz\r\nhello\r\n0\r\n\r\n",
        "5;\nX\r\nhello\r\n0\r\n\r\n\x01",
        "ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    ] {
        let answer = gateway.raw(format!("{head}{body}{HIDDEN}").as_bytes()).await;
        assert!(answer.count() <= 1, "{answer:?}");
        assert!(!answer.0.to_ascii_lowercase().contains("pingora"), "{answer:?}");
        if !body.starts_with('5') {
            assert!(answer.0.starts_with("HTTP/1.1 400 "), "FR-10: {answer:?}");
            assert!(answer.0.contains("application/problem+json"), "{answer:?}");
        }
    }
    assert!(
        gateway
            .core
            .seen()
            .iter()
            .all(|seen| !seen.target.contains("hidden")),
        "{:?}",
        gateway.core.seen()
    );
}

#[tokio::test]
async fn a_body_that_stops_is_cut_by_its_deadline() {
    let gateway = GatewayProcess::start().await;
    let token = gateway.keys.token();
    // The first is read before the decision, the second on its way to the core.
    for route in ["auth/login", "transfers"] {
        let started = Instant::now();
        let head = format!(
            "POST /api/v1/{route} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: 100\r\n\r\n{{\"em"
        );
        gateway.raw(head.as_bytes()).await.assert_refused(408, route);
        assert!(
            started.elapsed() < Duration::from_secs(4),
            "{route}: {:?}",
            started.elapsed()
        );
    }
}

#[tokio::test]
async fn a_slow_head_is_cut_by_one_deadline_for_the_whole_of_it() {
    let gateway = GatewayProcess::start().await;
    let mut stream = gateway.raw_tls().await;
    let started = Instant::now();
    let mut drops = tokio::time::interval(Duration::from_millis(50));
    let mut bytes = b"GET /api/v1/rates/a HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
        .iter()
        .chain(std::iter::repeat(&b'a'));
    // One byte every 50 ms: a deadline that each byte renews would never end.
    while started.elapsed() < Duration::from_secs(4) {
        drops.tick().await;
        if stream.write_all(&[*bytes.next().unwrap()]).await.is_err() || stream.flush().await.is_err() {
            break;
        }
        let mut answer = [0; 12];
        if let Ok(Ok(read)) = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut answer)).await {
            assert!(
                read == 0 || answer.starts_with(b"HTTP/1.1 408"),
                "{:?}",
                String::from_utf8_lossy(&answer)
            );
            break;
        }
    }
    let took = started.elapsed();
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(3)).contains(&took),
        "cut after {took:?}"
    );
    assert_eq!(gateway.core.seen().len(), 0);
}

#[tokio::test]
async fn requests_one_after_the_other_share_a_connection() {
    let gateway = GatewayProcess::start().await;
    let mut stream = gateway.raw_tls().await;
    for number in 0..3 {
        let request = format!("GET /api/v1/rates/r{number} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(br#"{"from":"core"}"#) {
            let mut byte = [0; 1];
            assert_eq!(
                stream.read(&mut byte).await.unwrap(),
                1,
                "closed after {:?}",
                String::from_utf8_lossy(&answer)
            );
            answer.push(byte[0]);
        }
    }
    assert_eq!(gateway.core.seen().len(), 3);
}
