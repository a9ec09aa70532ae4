//! Error reports and traces against local fakes: what arrives, what must not, and that a dead endpoint costs nothing.

#![cfg(test)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use service_runtime::settings::{Environment, Secret};
use service_runtime::telemetry::{TelemetrySettings, init};

/// A server that answers 200 to everything and hands over what it was sent: request head and body.
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
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"));
            drop(sender.send(bytes));
        }
    });
    (address, received)
}

fn is_complete(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let Some((head, _)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .and_then(|length| length.trim().parse::<usize>().ok())
        .unwrap_or(0);
    let body_starts = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    bytes.len() - body_starts >= length
}

fn sentry_to(address: SocketAddr) -> TelemetrySettings {
    let dsn = format!("http://public@{address}/1");
    TelemetrySettings {
        sentry_dsn: Some(Secret::from(dsn)),
        ..TelemetrySettings::default()
    }
}

#[test]
fn an_error_line_becomes_a_report_with_its_ids_and_without_its_data() {
    service_runtime::crypto::install_provider();
    let (address, received) = collector();
    let guard = init(&sentry_to(address), "core-api", Environment::Test).unwrap();

    let request = tracing::info_span!("request", request_id = "r-42", email = "canary@example.com");
    request.in_scope(|| {
        tracing::error!(target: "core_api::transfers", card = "canary-card", "posting failed");
        tracing::warn!(target: "core_api::transfers", "canary-warning");
    });
    drop(guard);

    let report =
        String::from_utf8_lossy(&received.recv_timeout(Duration::from_secs(10)).unwrap()).into_owned();
    assert!(
        report.contains("posting failed") && report.contains("r-42"),
        "{report}"
    );
    assert!(!report.contains("canary"), "{report}");
}

#[test]
fn a_span_becomes_a_trace() {
    service_runtime::crypto::install_provider();
    let (address, received) = collector();
    let settings = TelemetrySettings {
        otlp_endpoint: Some(format!("http://{address}")),
        ..TelemetrySettings::default()
    };
    let guard = init(&settings, "gateway", Environment::Test).unwrap();

    tracing::info_span!("a span to look for").in_scope(|| ());
    drop(guard);

    let export = received.recv_timeout(Duration::from_secs(10)).unwrap();
    let text = String::from_utf8_lossy(&export);
    assert!(text.starts_with("POST /v1/traces"), "{text}");
    assert!(
        text.contains("a span to look for") && text.contains("gateway"),
        "{text}"
    );
}

#[test]
fn a_panic_becomes_a_report_with_its_place_and_without_its_message() {
    service_runtime::crypto::install_provider();
    service_runtime::panics::leave_data_out();
    let (address, received) = collector();
    let guard = init(&sentry_to(address), "core-api", Environment::Test).unwrap();

    let number = "canary-4000-1234".to_owned();
    let handler = std::thread::Builder::new().name("handler".to_owned());
    let ended = handler
        .spawn(move || panic!("there is no card {number}"))
        .unwrap()
        .join();
    assert!(ended.is_err());
    drop(guard);

    let report =
        String::from_utf8_lossy(&received.recv_timeout(Duration::from_secs(10)).unwrap()).into_owned();
    assert!(
        report.contains("\"panic\"") && report.contains("tests/telemetry.rs"),
        "{report}"
    );
    assert!(!report.contains("canary"), "{report}");
}

/// Runs the next test in a process of its own, which ends with its panic.
#[test]
fn a_panic_says_where_it_was_and_quotes_nothing() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_process_that_panics_with_data",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("tests/telemetry.rs:"), "{said}");
    assert!(said.contains("a literal of ours"), "{said}");
    assert!(said.contains("is left out"), "{said}");
    assert!(!said.contains("canary"), "{said}");
}

#[test]
#[ignore = "the process of the test above: it panics"]
fn a_process_that_panics_with_data() {
    service_runtime::panics::leave_data_out();
    assert!(std::thread::spawn(|| panic!("a literal of ours")).join().is_err());
    let words = "canary-4000-1234".to_owned();
    // As a library of others would quote what it was given.
    let _: u32 = words.parse::<u32>().map_err(|_| words.clone()).unwrap();
}

#[test]
fn dead_endpoints_cost_a_request_nothing() {
    service_runtime::crypto::install_provider();
    // Bound and never accepted: connections hang rather than being refused, the worse of the two.
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = sentry_to(hole.local_addr().unwrap());
    settings.otlp_endpoint = Some(format!("http://{}", hole.local_addr().unwrap()));
    let guard = init(&settings, "gateway", Environment::Test).unwrap();

    let started = Instant::now();
    for _ in 0..1_000 {
        tracing::info_span!("request").in_scope(|| tracing::error!("failed"));
    }
    let spent = started.elapsed();
    drop(guard);
    let ended = started.elapsed();

    // Each bound only tells “did not wait for the network” from “waited”: one time-out would be two seconds and more.
    assert!(spent < Duration::from_secs(2), "{spent:?}");
    assert!(ended < Duration::from_secs(20), "{ended:?}");
}

#[test]
fn a_wrong_level_is_refused_by_name() {
    let settings = TelemetrySettings {
        level: "info,=".to_owned(),
        ..TelemetrySettings::default()
    };
    let refused = init(&settings, "gateway", Environment::Test)
        .unwrap_err()
        .to_string();
    assert!(refused.starts_with("telemetry.level"), "{refused}");
}
