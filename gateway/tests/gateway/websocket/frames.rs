//! What goes through: everything, as it is.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, split};

use super::{AGREED, Sockets, expect, frame, rest};
use crate::core_service::long_body;

const MASK: Option<[u8; 4]> = Some([0x37, 0xfa, 0x21, 0x3d]);

/// Every kind of frame: a message in fragments with a ping between them, empty and full ones, each form of length,
/// reserved bits (as extensions use them), pong and binary.
fn every_kind(mask: Option<[u8; 4]>) -> Vec<u8> {
    [
        frame(0x01, b"Hel", mask),
        frame(0x89, b"are you there", mask),
        frame(0x00, b"", mask),
        frame(0x80, b"lo", mask),
        frame(0x8a, b"", mask),
        frame(0x82, &long_body(125), mask),
        frame(0x82, &long_body(126), mask),
        frame(0x82, &long_body(65_535), mask),
        frame(0x82, &long_body(65_536), mask),
        frame(0xc1, b"compressed", mask),
    ]
    .concat()
}

#[tokio::test]
async fn frames_of_every_kind_go_through_as_they_are() {
    let sockets = Sockets::start("{ idle_timeout: 1min, max_frame: 64KiB }").await;
    let mut open = sockets.open_extended().await;
    let (up, down) = (every_kind(MASK), every_kind(None));
    for _ in 0..2 {
        open.client.write_all(&up).await.unwrap();
        expect(&mut open.server, &up).await;
        open.server.write_all(&down).await.unwrap();
        expect(&mut open.client, &down).await;
    }
    // Byte by byte, as a slow sender has it.
    for byte in &up[..40] {
        open.client.write_all(&[*byte]).await.unwrap();
        open.client.flush().await.unwrap();
        expect(&mut open.server, &[*byte]).await;
    }
}

#[tokio::test]
async fn both_directions_are_carried_at_once() {
    let sockets = Sockets::start("{ idle_timeout: 1min, max_frame: 8MiB }").await;
    let open = sockets.open().await;
    let (up, down) = (
        frame(0x82, &long_body(4 << 20), MASK),
        frame(0x82, &long_body(4 << 20), None),
    );
    let (mut client_reader, mut client_writer) = split(open.client);
    let (mut server_reader, mut server_writer) = split(open.server);
    tokio::join!(
        async { client_writer.write_all(&up).await.unwrap() },
        async { server_writer.write_all(&down).await.unwrap() },
        expect(&mut client_reader, &down),
        expect(&mut server_reader, &up),
    );
}

#[tokio::test]
async fn what_is_sent_early_arrives() {
    let sockets = Sockets::start("{ idle_timeout: 1min, max_frame: 64KiB }").await;
    let (early, welcome) = (frame(0x81, b"hello", MASK), frame(0x81, b"welcome", None));
    let mut client = sockets.gateway.raw_tls().await;
    let bytes = [sockets.handshake("").into_bytes(), early.clone()].concat();
    client.write_all(&bytes).await.unwrap();
    let (mut server, _) = sockets.upstream.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(server.read_u8().await.unwrap());
    }
    // The upstream speaks in the same segment as it agrees.
    let agreed = [AGREED.as_bytes(), &welcome].concat();
    server.write_all(&agreed).await.unwrap();
    expect(&mut server, &early).await;
    let answer = super::read_head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    expect(&mut client, &welcome).await;
}

#[tokio::test]
async fn each_side_may_close() {
    let sockets = Sockets::start("{ idle_timeout: 1min, max_frame: 64KiB }").await;
    let close = |mask| frame(0x88, &[0x0f, 0xa0, b'b', b'y', b'e'], mask);

    let mut open = sockets.open().await;
    open.client.write_all(&close(MASK)).await.unwrap();
    expect(&mut open.server, &close(MASK)).await;
    open.server.write_all(&close(None)).await.unwrap();
    open.server.shutdown().await.unwrap();
    assert_eq!(rest(&mut open.client).await, close(None));

    let mut open = sockets.open().await;
    open.server.write_all(&close(None)).await.unwrap();
    expect(&mut open.client, &close(None)).await;
    open.client.write_all(&close(MASK)).await.unwrap();
    expect(&mut open.server, &close(MASK)).await;
    drop(open.server);
    assert_eq!(rest(&mut open.client).await, b"");
}

#[tokio::test]
async fn a_client_that_has_said_everything_still_hears_the_answer() {
    let sockets = Sockets::start("{ idle_timeout: 1min, max_frame: 64KiB }").await;
    let mut open = sockets.open().await;
    let last = frame(0x81, b"last", MASK);
    open.client.write_all(&last).await.unwrap();
    open.client.shutdown().await.unwrap();
    assert_eq!(rest(&mut open.server).await, last, "the end goes through");
    let answer = frame(0x81, b"goodbye", None);
    open.server.write_all(&answer).await.unwrap();
    drop(open.server);
    assert_eq!(rest(&mut open.client).await, answer);
}
