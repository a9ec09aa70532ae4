//! Slow clients hold no more than their share, and others are served meanwhile; floods of malformed requests are limited.

use std::net::SocketAddr;
use std::sync::Arc;

use gateway::settings::ConnectionSettings;
use rustls_pki_types::ServerName;
use serde_json::Value;
use strictness::http2::frame::{PREFACE, flag, frame, headers, kind, setting, status};
use strictness::http2::take_frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::clients::RawAnswer;
use crate::gateway_process::{GatewayProcess, POLICY, eventually};

const CAP: usize = 6;

/// A connection from an address of the loopback of one's own.
async fn from(gateway: &GatewayProcess, address: &str) -> std::io::Result<TlsStream<TcpStream>> {
    speaking(gateway, address, b"http/1.1").await
}

async fn speaking(
    gateway: &GatewayProcess,
    address: &str,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = gateway.tls_config();
    config.alpn_protocols = vec![protocol.to_vec()];
    let socket = TcpSocket::new_v4()?;
    if protocol == b"h2" {
        // What the kernel takes for a client that does not read is kept small.
        socket.set_recv_buffer_size(4_096)?;
    }
    socket.bind(SocketAddr::new(address.parse().unwrap(), 0))?;
    let stream = socket.connect(gateway.https).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
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

/// The status and the body's begin of an answer over HTTP/1.1.
async fn ask(gateway: &GatewayProcess, address: &str, path: &str) -> RawAnswer {
    let mut stream = from(gateway, address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    rest(stream).await
}

/// An HTTP/2 client whose windows are wide, and that reads no more than it is told.
struct Streams {
    stream: TlsStream<TcpStream>,
    unread: Vec<u8>,
    next: u32,
}

impl Streams {
    async fn open(gateway: &GatewayProcess, address: &str) -> Self {
        const MOST: u32 = (1 << 31) - 1;
        let mut stream = speaking(gateway, address, b"h2").await.unwrap();
        // Without a table, every status is written out.
        let wide = [setting(1, 0), setting(4, MOST)].concat();
        let wide = frame(kind::SETTINGS, 0, 0, &wide);
        let more = frame(kind::WINDOW_UPDATE, 0, 0, &(MOST - 65_535).to_be_bytes());
        stream.write_all(&[PREFACE, &wide, &more].concat()).await.unwrap();
        Self {
            stream,
            unread: Vec::new(),
            next: 1,
        }
    }

    async fn begin(&mut self, count: u32, path: &str) {
        let fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", path),
        ];
        for _ in 0..count {
            self.stream
                .write_all(&headers(self.next, true, &fields))
                .await
                .unwrap();
            self.next += 2;
        }
    }

    /// Reads until every stream has ended.
    async fn read_all(&mut self) {
        let mut left = self.next / 2;
        while left > 0 {
            match take_frame(&mut self.unread) {
                Some(event) if event.kind == kind::RST_STREAM => left -= 1,
                Some(event) if matches!(event.kind, kind::DATA | kind::HEADERS) => {
                    left -= u32::from(event.flags & flag::END_STREAM);
                }
                Some(_) => {}
                None => assert_ne!(self.stream.read_buf(&mut self.unread).await.unwrap(), 0),
            }
        }
    }

    /// The next statuses that come.
    async fn statuses(&mut self, count: usize) -> Vec<u16> {
        let mut seen = Vec::new();
        while seen.len() < count {
            match take_frame(&mut self.unread) {
                Some(event) if event.kind == kind::HEADERS => seen.extend(status(&event.payload)),
                Some(_) => {}
                None => assert_ne!(self.stream.read_buf(&mut self.unread).await.unwrap(), 0),
            }
        }
        seen
    }
}

/// Of the whole process as of one address.
fn in_flight(max_in_flight: usize, max_in_flight_per_address: usize) -> ConnectionSettings {
    ConnectionSettings {
        max_in_flight,
        max_in_flight_per_address,
        ..ConnectionSettings::default()
    }
}

#[tokio::test]
async fn an_address_has_no_more_under_way_over_all_its_connections_and_others_are_served() {
    let gateway = GatewayProcess::with_connections(in_flight(8, 6)).await;
    let refused = r#"portico_refused_heads_total{rule="connections.max_in_flight_per_address"}"#;
    let large = "/api/v1/rates/a?size=4000000";
    let mut one = Streams::open(&gateway, "127.0.0.5").await;
    let mut two = Streams::open(&gateway, "127.0.0.5").await;
    one.begin(4, large).await;
    assert_eq!(one.statuses(4).await, [200; 4]);
    two.begin(4, large).await;
    let mut of_two = two.statuses(4).await;
    of_two.sort_unstable();
    assert_eq!(of_two, [200, 200, 429, 429]);
    let http1 = ask(&gateway, "127.0.0.5", "/health/live").await;
    http1.assert_refused(429, "the ninth");
    assert!(
        http1.0.contains("urn:portico:problem:too-many-at-once"),
        "{http1:?}"
    );
    assert!(http1.0.contains("retry-after: 1\r\n"), "{http1:?}");
    assert_eq!(gateway.metric(refused).await, Some(3));

    let mut other = Streams::open(&gateway, "127.0.0.6").await;
    other.begin(2, large).await;
    assert_eq!(other.statuses(2).await, [200; 2]);
    ask(&gateway, "127.0.0.7", "/health/live")
        .await
        .assert_refused(503, "the ninth of all");

    drop((one, other));
    eventually("what was held is given back", || async {
        ask(&gateway, "127.0.0.5", "/health/live").await.status() == 200
    })
    .await;
    assert_eq!(ask(&gateway, "127.0.0.7", "/health/live").await.status(), 200);
}

#[tokio::test]
async fn answers_that_are_not_read_keep_their_place_though_they_are_whole() {
    let gateway = GatewayProcess::with_connections(in_flight(2_000, 40)).await;
    let decided = async || {
        let served = r#"portico_requests_total{method="GET",route="show_rates",status="200"}"#;
        let refused = r#"portico_refused_heads_total{rule="connections.max_in_flight_per_address"}"#;
        let (served, refused) = (gateway.metric(served).await, gateway.metric(refused).await);
        served.unwrap_or_default() + refused.unwrap_or_default()
    };
    let mut streams = Streams::open(&gateway, "127.0.0.5").await;
    // The kernel takes the first megabytes; each answer is whole in what the library keeps.
    while ask(&gateway, "127.0.0.5", "/health/live").await.status() == 200 {
        assert!(streams.next < 2_000, "the client may go on for ever");
        let before = decided().await;
        streams.begin(50, "/api/v1/rates/a?size=15000").await;
        eventually("nothing of the requests is left", || async {
            decided().await >= before + 50
        })
        .await;
    }
    streams.read_all().await;
    eventually("what is read is gone", || async {
        ask(&gateway, "127.0.0.5", "/health/live").await.status() == 200
    })
    .await;
}

async fn ask_for_rates(gateway: &GatewayProcess) -> u16 {
    ask(gateway, "127.0.0.5", "/api/v1/rates/a").await.status()
}

#[tokio::test]
async fn places_come_back_when_the_core_is_late_or_gone() {
    let mut gateway = GatewayProcess::with_connections(in_flight(2, 2)).await;
    let gate = gateway.core.hold();
    let late = tokio::join!(ask_for_rates(&gateway), ask_for_rates(&gateway));
    assert_eq!(late, (504, 504));
    gate.add_permits(1_000);
    gateway.core.kill();
    // A client may have its answer before its place is free again: that comes, or never.
    for _ in 0..3 {
        eventually("a place for what fails", || async {
            ask_for_rates(&gateway).await == 503
        })
        .await;
    }
    gateway.core.revive();
    for _ in 0..3 {
        eventually("both places", || async {
            tokio::join!(ask_for_rates(&gateway), ask_for_rates(&gateway)) == (200, 200)
        })
        .await;
    }
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
