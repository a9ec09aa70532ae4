//! How a socket ends when neither side ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use keyring::Revocation;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, split};
use tokio::time::timeout;

use super::{Open, Sockets, expect, frame, rest, unmasked_close};
use crate::gateway_process::{eventually, now};
use crate::revocations::lock_out;

const LIMITS: &str = "{ idle_timeout: 1min, max_frame: 64KiB }";
const MASK: Option<[u8; 4]> = Some([9, 8, 7, 6]);

fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(0x88, &[&code.to_be_bytes()[..], reason.as_bytes()].concat(), None)
}

#[tokio::test]
async fn j47_a_socket_ends_with_its_token_and_both_sides_are_told() {
    let sockets = Sockets::start(LIMITS).await;
    let mut open = sockets.open().await;
    // A second of leeway counts here as it does for requests.
    sockets.gateway.clock.advance(TimeDelta::seconds(540));
    let hello = frame(0x81, b"still here", MASK);
    open.client.write_all(&hello).await.unwrap();
    expect(&mut open.server, &hello).await;

    sockets.gateway.clock.advance(TimeDelta::seconds(1));
    assert_eq!(rest(&mut open.client).await, close(1008, "the token has expired"));
    let told = rest(&mut open.server).await;
    assert_eq!(unmasked_close(&told), (1008, "the token has expired".to_owned()));
    let line = r#"portico_requests_total{method="GET",route="follow",status="101"}"#;
    eventually("it is counted", || async {
        sockets.gateway.metric(line).await == Some(1)
    })
    .await;
}

#[tokio::test]
async fn j47_a_socket_ends_when_its_token_is_revoked() {
    let sockets = Sockets::start(LIMITS).await;
    let mut open = sockets.open().await;
    sockets.gateway.keys.revoke(vec![lock_out("usr_alice")]);
    assert_eq!(rest(&mut open.client).await, close(1008, "the token was revoked"));
    let told = rest(&mut open.server).await;
    assert_eq!(unmasked_close(&told), (1008, "the token was revoked".to_owned()));
}

#[tokio::test]
async fn j41_a_socket_ends_when_the_address_of_its_client_is_blocked() {
    let sockets = Sockets::start(LIMITS).await;
    let mut open = sockets.open().await;
    sockets.gateway.keys.revoke(vec![Revocation::Network {
        address: "127.0.0.1".parse().unwrap(),
        prefix: 32,
        until: now().timestamp() + 60,
    }]);
    let told = "nothing is taken from this address";
    assert_eq!(rest(&mut open.client).await, close(1008, told));
    assert_eq!(
        unmasked_close(&rest(&mut open.server).await),
        (1008, told.to_owned())
    );
}

#[tokio::test]
async fn j41_a_socket_ends_when_nobody_says_any_more_what_is_revoked() {
    let strict = format!("{LIMITS}\n    revocations_within: 5s");
    let mut sockets = Sockets::start(&strict).await;
    let mut open = sockets.open().await;
    sockets.gateway.keys.kill();
    let told = "whether the token is good cannot be known now";
    let mut seen = Vec::new();
    let ended = timeout(Duration::from_secs(60), open.client.read_to_end(&mut seen)).await;
    ended.expect("the silence is too long").unwrap();
    assert_eq!(seen, close(1013, told));
    assert_eq!(
        unmasked_close(&rest(&mut open.server).await),
        (1013, told.to_owned())
    );
}

#[tokio::test]
async fn the_close_frame_never_stands_inside_of_another_frame() {
    let sockets = Sockets::start(LIMITS).await;
    let mut open = sockets.open().await;
    let long = frame(0x82, &[5; 20_000], None);
    open.server.write_all(&long[..10_000]).await.unwrap();
    expect(&mut open.client, &long[..10_000]).await;
    sockets.gateway.clock.advance(TimeDelta::seconds(600));
    // The rest of the frame, and one more that must not be cut either.
    let more = [&long[10_000..], &frame(0x81, b"one more", None)].concat();
    open.server.write_all(&more).await.unwrap();
    let seen = rest(&mut open.client).await;
    assert!(seen.starts_with(&long[10_000..]), "the frame is whole");
    assert!(seen.ends_with(&close(1008, "the token has expired")));
}

#[tokio::test]
async fn a_side_that_does_not_end_its_frame_is_cut_off() {
    let sockets = Sockets::start(LIMITS).await;
    let mut open = sockets.open().await;
    let long = frame(0x82, &[5; 20_000], None);
    open.server.write_all(&long[..10_000]).await.unwrap();
    expect(&mut open.client, &long[..10_000]).await;
    sockets.gateway.clock.advance(TimeDelta::seconds(600));
    assert_eq!(rest(&mut open.client).await, b"");
}

#[tokio::test]
async fn j47_a_socket_ends_although_its_client_reads_nothing() {
    let sockets = Sockets::start(LIMITS).await;
    let Open { client, server, .. } = sockets.open().await;
    let (mut reader, mut writer) = split(server);
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    tokio::spawn(async move {
        let bytes = frame(0x82, &[5; 65_000], None);
        while writer.write_all(&bytes).await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut before = 0;
    let mut same = 0;
    eventually("nothing goes through any more", || {
        let now = sent.load(Ordering::Relaxed);
        same = if now == before { same + 1 } else { 0 };
        before = now;
        std::future::ready(now > 0 && same > 20)
    })
    .await;
    sockets.gateway.clock.advance(TimeDelta::seconds(600));
    assert_eq!(unmasked_close(&rest(&mut reader).await).0, 1008);
    drop(client);
}

#[tokio::test]
async fn a_socket_on_which_nothing_is_sent_is_closed_and_one_in_use_is_not() {
    let sockets = Sockets::start("{ idle_timeout: 700ms, max_frame: 64KiB }").await;
    let mut open = sockets.open().await;
    let ping = frame(0x89, b"", MASK);
    let mut ticks = tokio::time::interval(Duration::from_millis(300));
    for _ in 0..5 {
        ticks.tick().await;
        open.client.write_all(&ping).await.unwrap();
        expect(&mut open.server, &ping).await;
    }
    assert_eq!(rest(&mut open.client).await, close(1001, "idle"));
}

/// Frames, first bytes and payloads, of which the last may not come and those before may.
type Sent = &'static [(u8, &'static [u8])];

const VIOLATIONS: [(&str, Sent); 15] = [
    ("a reserved bit", &[(0xc1, b"not agreed")]),
    ("a reserved opcode of data", &[(0x83, b"")]),
    ("a reserved opcode of control", &[(0x8b, b"")]),
    ("a ping in parts", &[(0x09, b"")]),
    ("a close in parts", &[(0x08, b"")]),
    ("a ping of 126 bytes", &[(0x89, &[1; 126])]),
    ("a pong of 126 bytes", &[(0x8a, &[1; 126])]),
    ("a close of 126 bytes", &[(0x88, &[1; 126])]),
    ("a close of one byte", &[(0x88, b"\x03")]),
    (
        "a message behind a close",
        &[(0x88, b"\x03\xe8"), (0x81, b"more")],
    ),
    (
        "the end of a message behind a close",
        &[(0x01, b"a"), (0x88, b""), (0x80, b"b")],
    ),
    ("a part of nothing", &[(0x80, b"end")]),
    (
        "a part behind the last one",
        &[(0x01, b"a"), (0x80, b"b"), (0x80, b"c")],
    ),
    (
        "a message within a message",
        &[(0x01, b"a"), (0x89, b""), (0x81, b"b")],
    ),
    (
        "a message in parts within a message",
        &[(0x02, b"a"), (0x02, b"b")],
    ),
];

/// Heads that say a length in more bytes than it needs.
const TOO_LONG: [(&str, &[u8]); 3] = [
    ("two bytes of length for 125", &[0x82, 126, 0, 125]),
    ("eight for 1", &[0x82, 127, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("eight for 126", &[0x82, 127, 0, 0, 0, 0, 0, 0, 0, 126]),
];

/// What may come, and what may not behind it, as a side with this mask sends it.
fn violations(mask: Option<[u8; 4]>) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let frames = VIOLATIONS.iter().map(|(name, frames)| {
        let (last, before) = frames.split_last().unwrap();
        let written = |(first, payload): &(u8, &[u8])| frame(*first, payload, mask);
        let before: Vec<Vec<u8>> = before.iter().map(written).collect();
        (*name, before.concat(), written(last))
    });
    let heads = TOO_LONG.iter().map(|(name, head)| {
        let mut head = head.to_vec();
        if let Some(mask) = mask {
            head[1] |= 0x80;
            head.extend_from_slice(&mask);
        }
        (*name, Vec::new(), head)
    });
    let mask = match mask {
        Some(_) => ("no mask", Vec::new(), frame(0x81, b"hi", None)),
        None => ("a mask", Vec::new(), frame(0x81, b"hi", MASK)),
    };
    frames.chain(heads).chain([mask]).collect()
}

const MALFORMED: &str = "the frame is malformed";

#[tokio::test]
async fn a_client_that_breaks_the_protocol_ends_the_socket_and_both_are_told() {
    let sockets = Sockets::start("{ idle_timeout: 1min, max_frame: 1KiB }").await;
    for (name, before, violation) in violations(MASK) {
        let mut open = sockets.open().await;
        open.client.write_all(&before).await.unwrap();
        expect(&mut open.server, &before).await;
        open.client.write_all(&violation).await.unwrap();
        assert_eq!(rest(&mut open.client).await, close(1002, MALFORMED), "{name}");
        let told = unmasked_close(&rest(&mut open.server).await);
        assert_eq!(
            told,
            (1002, MALFORMED.to_owned()),
            "{name}: nothing of it went through"
        );
    }
}

#[tokio::test]
async fn an_upstream_that_breaks_the_protocol_ends_the_socket_and_both_are_told() {
    let sockets = Sockets::start("{ idle_timeout: 1min, max_frame: 1KiB }").await;
    for (name, before, violation) in violations(None) {
        let mut open = sockets.open().await;
        open.server.write_all(&before).await.unwrap();
        expect(&mut open.client, &before).await;
        open.server.write_all(&violation).await.unwrap();
        let told = rest(&mut open.client).await;
        assert_eq!(told, close(1002, MALFORMED), "{name}: nothing of it went through");
        let told = unmasked_close(&rest(&mut open.server).await);
        assert_eq!(told, (1002, MALFORMED.to_owned()), "{name}");
    }
}

/// RFC 6455 §7.4 and §8.1 are for who reads payloads: what that side says of them comes back.
#[tokio::test]
async fn what_only_a_payload_tells_goes_through_and_so_does_the_refusal_of_the_other_side() {
    let payloads: [(&str, u8, &[u8], u16); 5] = [
        ("text that is no UTF-8", 0x81, b"\xc3\x28", 1007),
        ("half a letter", 0x81, b"\xe2\x82", 1007),
        ("a code that is reserved", 0x88, b"\x03\xed", 1002),
        ("a code below 1000", 0x88, b"\x00\x01", 1002),
        ("a reason that is no UTF-8", 0x88, b"\x03\xe8\xff", 1007),
    ];
    let sockets = Sockets::start(LIMITS).await;
    for (name, first, payload, code) in payloads {
        let mut open = sockets.open().await;
        let sent = frame(first, payload, MASK);
        open.client.write_all(&sent).await.unwrap();
        expect(&mut open.server, &sent).await;
        let refusal = close(code, name);
        open.server.write_all(&refusal).await.unwrap();
        expect(&mut open.client, &refusal).await;
    }
}

#[tokio::test]
async fn a_frame_that_is_too_large_ends_the_socket_whoever_sends_it() {
    let sockets = Sockets::start("{ idle_timeout: 1min, max_frame: 1KiB }").await;
    let (fits, large) = ([1; 1024], [1; 1025]);

    let mut open = sockets.open().await;
    open.client.write_all(&frame(0x82, &fits, MASK)).await.unwrap();
    expect(&mut open.server, &frame(0x82, &fits, MASK)).await;
    open.client.write_all(&frame(0x82, &large, MASK)).await.unwrap();
    assert_eq!(
        rest(&mut open.client).await,
        close(1009, "the frame is too large")
    );
    assert_eq!(unmasked_close(&rest(&mut open.server).await).0, 1009);

    let mut open = sockets.open().await;
    open.server.write_all(&frame(0x82, &fits, None)).await.unwrap();
    expect(&mut open.client, &frame(0x82, &fits, None)).await;
    open.server.write_all(&frame(0x82, &large, None)).await.unwrap();
    assert_eq!(
        rest(&mut open.client).await,
        close(1009, "the frame is too large")
    );
}

#[tokio::test]
async fn sockets_are_told_that_the_gateway_stops_and_hold_it_up_no_longer() {
    let mut sockets = Sockets::start(LIMITS).await;
    let mut open = sockets.open().await;
    sockets.gateway.begin_to_stop();
    assert_eq!(rest(&mut open.client).await, close(1001, "going away"));
    assert_eq!(unmasked_close(&rest(&mut open.server).await).0, 1001);
    drop(open);
    assert!(sockets.gateway.stop().await, "nothing was cut");
}
