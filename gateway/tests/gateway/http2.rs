//! HTTP/2: the same rules, the same answers.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use gateway::settings::ConnectionSettings;
use http::{Method, Version};
use rustls_pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::clients::{assert_dressed, problem};
use crate::gateway_process::{GatewayProcess, eventually};

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

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
/// Bytes of a date, in Huffman code.
const DATE: usize = 24;
const END_STREAM: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
const END_HEADERS: u8 = 4;

/// One frame (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream][..], payload].concat()
}

/// A GET or POST as a list of fields: literals without index and without Huffman code (RFC 7541 §6.2.2).
fn fields(gateway: &GatewayProcess, method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let authority = format!("localhost:{}", gateway.https.port());
    let asked = [
        (":method", method),
        (":scheme", "https"),
        (":authority", &authority),
        (":path", path),
    ];
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let field = |(name, value): &(&str, &str)| [vec![0], text(name), text(value)].concat();
    asked.iter().chain(more).flat_map(field).collect()
}

/// A connection on which nothing was said but that it speaks HTTP/2.
async fn open(gateway: &GatewayProcess) -> TlsStream<TcpStream> {
    let mut config = gateway.tls_config();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let socket = TcpStream::connect(gateway.https).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, socket).await.unwrap();
    let opening = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[]),
    ];
    stream.write_all(&opening.concat()).await.unwrap();
    stream
}

/// The kind, the flags and the length of the next frame; its payload is dropped.
async fn next_frame(stream: &mut TlsStream<TcpStream>) -> (u8, u8, usize) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    stream.read_exact(&mut vec![0; length]).await.unwrap();
    (head[3], head[4], length)
}

async fn next_frame_soon(stream: &mut TlsStream<TcpStream>) -> (u8, u8, usize) {
    let frame = timeout(Duration::from_secs(5), next_frame(stream));
    frame.await.expect("a frame comes")
}

#[tokio::test]
async fn what_every_answer_says_is_sent_once() {
    let gateway = GatewayProcess::start().await;
    let mut stream = open(&gateway).await;
    let asked = fields(&gateway, "GET", "/api/v1/rates/a", &[]);
    let mut lengths = Vec::new();
    // Ids of so many answers are more than the table of a connection holds (4,096 bytes).
    for number in (1..=127).step_by(2) {
        let request = frame(HEADERS, END_HEADERS | END_STREAM, number, &asked);
        stream.write_all(&request).await.unwrap();
        loop {
            let (kind, flags, length) = next_frame_soon(&mut stream).await;
            if kind == HEADERS {
                lengths.push(length);
            }
            if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                break;
            }
        }
    }
    let (first, later) = lengths.split_first().unwrap();
    assert_eq!(later.len(), 63);
    assert!(later.iter().all(|length| length * 2 < *first), "{lengths:?}");
    // The second in the date is another one at times; nothing else comes again.
    let sum = |lengths: &[usize]| lengths.iter().sum::<usize>();
    let (early, late) = (&later[..10], &later[later.len() - 10..]);
    assert!(sum(late) < sum(early) + 10 * DATE, "{lengths:?}");
}

#[tokio::test]
async fn a_stream_that_is_refused_before_its_body_came_is_not_reset() {
    let gateway = GatewayProcess::start().await;
    let mut stream = open(&gateway).await;
    let head = fields(&gateway, "POST", "/api/v1/transfers", &[("content-length", "2")]);
    stream
        .write_all(&frame(HEADERS, END_HEADERS, 1, &head))
        .await
        .unwrap();
    // The answer is complete before a byte of the body is sent.
    loop {
        let (kind, flags, _) = next_frame_soon(&mut stream).await;
        assert_ne!(kind, RST_STREAM);
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            break;
        }
    }
    let body = [frame(DATA, END_STREAM, 1, b"{}"), frame(PING, 0, 0, &[0; 8])];
    stream.write_all(&body.concat()).await.unwrap();
    loop {
        let (kind, flags, _) = next_frame_soon(&mut stream).await;
        assert_ne!(kind, RST_STREAM, "curl takes this for a failure of the request");
        if kind == PING && flags == 1 {
            break;
        }
    }
    assert_eq!(gateway.core.seen().len(), 0);
}

/// What became of the requests of a client that is told to go away, says nothing to that, and asks on and on.
#[derive(Debug, Default)]
struct Persistence {
    answered: usize,
    refused: usize,
}

async fn ask_on_and_on(mut stream: TlsStream<TcpStream>, asked: Vec<u8>) -> Persistence {
    let mut seen = Persistence::default();
    for number in (1..).step_by(2) {
        let request = [
            strictness::http2::frame::frame(HEADERS, END_HEADERS | END_STREAM, number, &asked),
            // What was read makes room for what comes.
            frame(WINDOW_UPDATE, 0, 0, &1_000_u32.to_be_bytes()),
        ]
        .concat();
        if stream.write_all(&request).await.is_err() {
            break;
        }
        let end = loop {
            let mut head = [0; 9];
            if stream.read_exact(&mut head).await.is_err() {
                return seen;
            }
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            stream.read_exact(&mut vec![0; length]).await.unwrap();
            match head[3] {
                RST_STREAM => break RST_STREAM,
                kind @ (DATA | HEADERS) if head[4] & END_STREAM != 0 => break kind,
                _ => {}
            }
        };
        if end == RST_STREAM {
            seen.refused += 1;
        } else {
            assert_eq!(seen.refused, 0, "nothing is served after the time is over");
            seen.answered += 1;
        }
    }
    seen
}

#[tokio::test]
async fn a_client_that_goes_on_after_its_last_request_is_served_for_moments_and_then_cut() {
    let bounds = ConnectionSettings {
        max_requests: 3,
        ..ConnectionSettings::default()
    };
    let gateway = GatewayProcess::with_connections(bounds).await;
    let asked = fields(&gateway, "GET", "/health/live", &[]);
    let stream = open(&gateway).await;
    let seen = timeout(Duration::from_secs(60), ask_on_and_on(stream, asked)).await;
    let seen = seen.expect("the connection is closed");
    assert!(seen.answered >= 3 && seen.refused > 0, "{seen:?}");
}

#[tokio::test]
async fn a_client_that_goes_when_it_is_told_loses_nothing() {
    let bounds = ConnectionSettings {
        max_requests: 3,
        ..ConnectionSettings::default()
    };
    let gateway = GatewayProcess::with_connections(bounds).await;
    let client = client(&gateway);
    let handshakes = || gateway.metric(r#"portico_tls_handshakes_total{outcome="TLSv1_3"}"#);
    let before = handshakes().await.unwrap_or_default();
    for number in 0..30 {
        let answer = client.get(gateway.url(&format!("/api/v1/rates/p{number}")));
        assert_eq!(answer.send().await.unwrap().status(), 200);
    }
    let connections = handshakes().await.unwrap() - before;
    assert!((8..=10).contains(&connections), "{connections} connections");
}

#[tokio::test]
async fn a_client_that_goes_on_does_not_hold_a_gateway_that_stops() {
    let mut gateway = GatewayProcess::start().await;
    let asked = fields(&gateway, "GET", "/health/live", &[]);
    let stream = open(&gateway).await;
    let persistent = tokio::spawn(ask_on_and_on(stream, asked));
    eventually("it is served", || async {
        gateway
            .metric(r#"portico_tls_handshakes_total{outcome="TLSv1_3"}"#)
            .await
            .is_some_and(|count| count >= 2)
    })
    .await;
    assert!(gateway.stop().await, "no request was cut");
    let seen = persistent.await.unwrap();
    assert!(seen.answered > 0 && seen.refused > 0, "{seen:?}");
}
