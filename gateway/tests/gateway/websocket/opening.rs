//! Who may open a socket, and where.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::{AGREED, KEY, Sockets, expect, frame};
use crate::clients::problem;
use crate::raw_upstream::read_message;

const LIMITS: &str = "{ idle_timeout: 1min, max_frame: 64KiB }";

#[tokio::test]
async fn the_upstream_sees_who_it_is_and_the_client_sees_what_was_agreed() {
    let sockets = Sockets::start(LIMITS).await;
    let handshake = sockets.handshake(
        "Sec-WebSocket-Protocol: chat\r\nX-Auth-Subject: usr_mallory\r\nOrigin: https://app.bank.example\r\n",
    );
    let agreed = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\nServer: core\r\n\r\n";
    let open = sockets.open_with(&handshake, agreed).await;
    let request = open.request.to_ascii_lowercase();
    for line in [
        "get /api/v1/events http/1.1",
        "x-auth-subject: usr_alice",
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-version: 13",
        "sec-websocket-protocol: chat",
        "authorization: bearer ",
    ] {
        assert!(request.contains(line), "{line} is missing in\n{request}");
    }
    assert!(request.contains(&format!("sec-websocket-key: {}", KEY.to_ascii_lowercase())));
    assert!(!request.contains("mallory"));
    let answer = open.answer.to_ascii_lowercase();
    for line in [
        "sec-websocket-protocol: chat",
        "upgrade: websocket",
        "connection: upgrade",
        "x-request-id: ",
        "access-control-allow-origin: https://app.bank.example",
        "strict-transport-security: ",
    ] {
        assert!(answer.contains(line), "{line} is missing in\n{answer}");
    }
    assert!(!answer.contains("server:"), "{answer}");
}

#[tokio::test]
async fn without_a_good_token_or_from_another_page_there_is_no_socket() {
    let sockets = Sockets::start(LIMITS).await;
    let good = sockets.handshake("");
    let token = good
        .lines()
        .find(|line| line.starts_with("Authorization"))
        .unwrap();
    let poor = format!(
        "Authorization: Bearer {}",
        sockets.gateway.keys.token_with(&json!({"scope": "other"}))
    );
    for (handshake, status) in [
        (good.replace(&format!("{token}\r\n"), ""), 401),
        (good.replace(token, "Authorization: Bearer forged"), 401),
        (good.replace(token, &poor), 403),
        (sockets.handshake("Origin: https://evil.example\r\n"), 403),
        (sockets.handshake("Origin: null\r\n"), 403),
    ] {
        let (_, answer) = sockets.ask(&handshake).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    let opened = tokio::time::timeout(std::time::Duration::from_millis(10), sockets.upstream.accept()).await;
    assert!(opened.is_err(), "the upstream was not even asked");
}

#[tokio::test]
async fn a_request_that_opens_no_socket_is_told_what_is_wanted() {
    let sockets = Sockets::start(LIMITS).await;
    let good = sockets.handshake("");
    let two_keys = format!("{KEY}\r\nSec-WebSocket-Key: {KEY}");
    for (old, new, status, field) in [
        ("Upgrade: websocket\r\n", "", 426, "upgrade: websocket"),
        ("Upgrade: websocket", "Upgrade: h2c", 426, "upgrade: websocket"),
        ("Connection: Upgrade\r\n", "", 426, "upgrade: websocket"),
        ("Version: 13", "Version: 8", 426, "sec-websocket-version: 13"),
        (KEY, "c2hvcnQ=", 400, "content-type: application/problem+json"),
        (KEY, &two_keys, 400, "content-type: application/problem+json"),
    ] {
        assert!(good.contains(old));
        let (_, answer) = sockets.ask(&good.replace(old, new)).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{new}: {answer}"
        );
        assert!(answer.to_ascii_lowercase().contains(field), "{new}: {answer}");
    }
    let http2 = sockets.gateway.client_builder().build().unwrap();
    let token = sockets.gateway.keys.token();
    let url = sockets.gateway.url("/api/v1/events");
    let answer = http2.get(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    problem(answer, 426, "upgrade-required").await;
}

#[tokio::test]
async fn an_upstream_that_does_not_agree_is_heard_and_one_that_is_away_is_503() {
    let sockets = Sockets::start(LIMITS).await;
    let refusing = async {
        let (mut server, _) = sockets.upstream.accept().await.unwrap();
        read_message(&mut server, &mut Vec::new()).await.unwrap();
        let answer = "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nnone";
        server.write_all(answer.as_bytes()).await.unwrap();
        server
    };
    let handshake = sockets.handshake("");
    let ((mut client, answer), _server) = tokio::join!(sockets.ask(&handshake), refusing);
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(answer.contains("text/plain"), "{answer}");
    expect(&mut client, b"none").await;

    let Sockets { gateway, upstream } = sockets;
    drop(upstream);
    let mut client = gateway.raw_tls().await;
    client.write_all(handshake.as_bytes()).await.unwrap();
    let answer = super::read_head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[tokio::test]
async fn an_upstream_that_agrees_to_something_else_opens_nothing() {
    let sockets = Sockets::start(LIMITS).await;
    let handshake = sockets.handshake("");
    for (old, new) in [
        ("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "s3pPLMBiTxaQ9kYGzzhZRbK+xOp="),
        ("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", ""),
        ("Upgrade: websocket", "Upgrade: h2c"),
        (
            "\r\n\r\n",
            "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        ),
        ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat\r\n\r\n"),
    ] {
        let agreed = AGREED.replacen(old, new, 1);
        assert_ne!(agreed, AGREED);
        let agreeing = async {
            let (mut server, _) = sockets.upstream.accept().await.unwrap();
            read_message(&mut server, &mut Vec::new()).await.unwrap();
            server.write_all(agreed.as_bytes()).await.unwrap();
            server
        };
        let ((_, answer), _server) = tokio::join!(sockets.ask(&handshake), agreeing);
        assert!(answer.starts_with("HTTP/1.1 502 "), "{agreed}\n{answer}");
        let answer = answer.to_ascii_lowercase();
        assert!(!answer.contains("sec-websocket"), "{answer}");
    }
}

#[tokio::test]
async fn another_policy_does_not_touch_sockets_that_are_open() {
    let sockets = Sockets::start(LIMITS).await;
    let mut open = sockets.open().await;
    for size in ["1KiB", "2KiB", "3KiB"] {
        sockets
            .write_policy(&format!("{{ idle_timeout: 1s, max_frame: {size} }}"))
            .await;
        let hello = frame(0x82, &[7; 10_000], Some([1, 2, 3, 4]));
        open.client.write_all(&hello).await.unwrap();
        expect(&mut open.server, &hello).await;
    }
}
