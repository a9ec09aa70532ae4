//! Spans of the gateway at an OTLP collector, and what the upstream is told of them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use service_runtime::settings::Environment;
use service_runtime::telemetry::{TelemetrySettings, init};

use crate::gateway_process::GatewayProcess;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A collector that takes everything; the bytes of each request, head and body.
fn collector() -> (SocketAddr, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, received) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = Vec::new();
            let mut buffer = [0; 4096];
            while !is_complete(&bytes) {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                }
            }
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
            drop(sender.send(bytes));
        }
    });
    (address, received)
}

fn is_complete(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.trim().parse::<usize>().unwrap());
    bytes.len() - end - 4 >= length
}

/// A field of bytes in protobuf: tag, length, content.
fn field(number: u8, hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
    let mut bytes = vec![number << 3 | 2, u8::try_from(hex.len() / 2).unwrap()];
    bytes.extend(digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()));
    bytes
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn the_span_of_a_request_continues_the_callers_trace_and_is_the_upstreams_parent() {
    service_runtime::crypto::install_provider();
    let (address, received) = collector();
    let settings = TelemetrySettings {
        otlp_endpoint: Some(format!("http://{address}")),
        ..TelemetrySettings::default()
    };
    let guard = init(&settings, "gateway", Environment::Test).unwrap();
    let told = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut gateway = GatewayProcess::start().await;
        let request = gateway.client().get(gateway.url("/api/v1/rates/eur-usd"));
        let request = request.header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
        assert_eq!(request.send().await.unwrap().status(), 200);
        assert!(gateway.stop().await);
        gateway.core.last().header("traceparent").unwrap().to_owned()
    });
    drop(guard);

    let (trace, span) = (told.split('-').nth(1).unwrap(), told.split('-').nth(2).unwrap());
    assert_eq!(trace, TRACE);
    // The fields 1, 2 and 4 of a span in OTLP are its trace, itself and its parent.
    let itself = [field(1, TRACE), field(2, span)].concat();
    loop {
        let export = received
            .recv_timeout(Duration::from_secs(10))
            .expect("the span is exported");
        if contains(&export, &itself) {
            assert!(contains(&export, &field(4, CALLER)), "its parent is the caller");
            assert!(
                contains(&export, b"GET show_rates"),
                "it is named after the route"
            );
            return;
        }
    }
}
