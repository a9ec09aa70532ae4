//! Slow clients hold no more than their share, and others are served meanwhile; floods of malformed requests are limited.

use std::net::SocketAddr;
use std::sync::Arc;

use gateway::settings::ConnectionSettings;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::clients::RawAnswer;
use crate::gateway_process::{GatewayProcess, POLICY};

const CAP: usize = 6;

/// A connection from an address of the loopback of one's own.
async fn from(gateway: &GatewayProcess, address: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(address.parse().unwrap(), 0))?;
    let stream = socket.connect(gateway.https).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(gateway.tls_config()))
        .connect(name, stream)
        .await
}

async fn rest(mut stream: TlsStream<TcpStream>) -> RawAnswer {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    RawAnswer(String::from_utf8(bytes).unwrap())
}

#[tokio::test]
async fn slow_heads_and_bodies_hold_no_more_than_their_cap_and_others_are_served() {
    let bounds = ConnectionSettings {
        max_per_address: CAP,
        ..ConnectionSettings::default()
    };
    let gateway = GatewayProcess::with_connections(bounds).await;
    let beginnings = [
        "GET /api/v1/rates/a HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    ];
    let mut held = Vec::new();
    for number in 0..CAP {
        let mut stream = from(&gateway, "127.0.0.5").await.unwrap();
        stream.write_all(beginnings[number % 3].as_bytes()).await.unwrap();
        held.push(stream);
    }
    for _ in 0..4 {
        assert!(
            from(&gateway, "127.0.0.5").await.is_err(),
            "more than the cap is held"
        );
    }
    assert_eq!(
        gateway
            .metric(r#"portico_connections_refused_total{reason="address"}"#)
            .await,
        Some(4)
    );

    let mut other = from(&gateway, "127.0.0.6").await.unwrap();
    other
        .write_all(b"GET /api/v1/rates/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(rest(other).await.status(), 200);

    for stream in held {
        rest(stream).await.assert_refused(408, "a slow client");
    }
    gateway
        .counts(r#"portico_refused_heads_total{rule="floor.timeouts.head"}"#, 2)
        .await;
    let mut again = from(&gateway, "127.0.0.5").await.unwrap();
    again
        .write_all(b"GET /api/v1/rates/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(rest(again).await.status(), 200, "what was held is given back");
}

#[tokio::test]
async fn a_connection_is_closed_after_its_last_request_and_when_it_rests_too_long() {
    let bounds = ConnectionSettings {
        max_requests: 3,
        idle_timeout_ms: 500,
        ..ConnectionSettings::default()
    };
    let gateway = GatewayProcess::with_connections(bounds).await;
    let mut stream = gateway.raw_tls().await;
    let request = b"GET /api/v1/rates/a HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(&request.repeat(5)).await.unwrap();
    let answer = rest(stream).await;
    assert_eq!(answer.count(), 3, "{answer:?}");
    assert!(answer.0.to_ascii_lowercase().contains("connection: close"));

    let mut idle = gateway.raw_tls().await;
    idle.write_all(request).await.unwrap();
    assert_eq!(rest(idle).await.count(), 1, "closed without a second request");
}

#[tokio::test]
async fn malformed_requests_count_against_the_limit_of_their_address() {
    let old = "per-address: { limit: 6000/min, burst: 6000, key: [address] }";
    assert!(POLICY.contains(old));
    let policy = POLICY.replace(old, "per-address: { limit: 20/h, burst: 20, key: [address] }");
    let gateway = GatewayProcess::with(&policy, |_| ()).await;
    let malformed = b"GET /api/v1/rates/a HTTP/1.1\nHost: localhost\n\n";
    gateway.raw(malformed).await.assert_refused(400, "a bare LF");
    for _ in 1..20 {
        gateway.raw(malformed).await;
    }
    let answer = gateway.raw(malformed).await;
    answer.assert_refused(429, "the twenty-first");
    // 20 in an hour are one in 180 seconds.
    let (head, body) = answer.0.split_once("\r\n\r\n").unwrap();
    let field = head.lines().find_map(|line| line.strip_prefix("retry-after: "));
    let seconds: u64 = field.expect("it says when to come back").parse().unwrap();
    assert!((1..=180).contains(&seconds), "{seconds}");
    let document: Value = serde_json::from_str(body).unwrap();
    assert_eq!(document["retry_after"], seconds);
    // Good requests of the same address are limited with them.
    assert_eq!(gateway.get("/api/v1/rates/a").await.status(), 429);
    assert_eq!(gateway.core.seen().len(), 0);
}
