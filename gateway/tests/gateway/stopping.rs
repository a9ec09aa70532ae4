//! SIGTERM: no new connections, and not one request is cut.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::gateway_process::{GatewayProcess, eventually};

#[tokio::test]
async fn requests_under_way_are_answered_and_their_connections_close() {
    let mut gateway = GatewayProcess::start().await;
    let gate = gateway.core.hold();
    let http1 = tokio::spawn(gateway.client().get(gateway.url("/api/v1/rates/one")).send());
    let http2 = gateway.client_builder().build().unwrap();
    let http2 = tokio::spawn(http2.get(gateway.url("/api/v1/rates/two")).send());
    eventually("both are under way", || async { gateway.core.seen().len() == 2 }).await;

    gateway.begin_to_stop();
    let address = gateway.https;
    eventually("new connections are refused", || async {
        TcpStream::connect(address).await.is_err()
    })
    .await;
    assert!(!http1.is_finished() && !http2.is_finished());

    gate.add_permits(2);
    let http1 = http1.await.unwrap().unwrap();
    assert_eq!(
        (http1.status(), &http1.headers()["connection"]),
        (200.try_into().unwrap(), &"close".parse().unwrap())
    );
    assert_eq!(http2.await.unwrap().unwrap().status(), 200);
    assert!(gateway.stop().await, "every request was answered");
}

#[tokio::test]
async fn stopping_under_load_cuts_nothing() {
    let mut gateway = GatewayProcess::start().await;
    let (stopping, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut load = Vec::new();
    for number in 0..8 {
        // Half of the clients speak HTTP/2. Each holds one connection and goes on until that ends.
        let builder = gateway.client_builder();
        let client = if number % 2 == 0 {
            builder.http1_only()
        } else {
            builder
        }
        .build()
        .unwrap();
        let (url, stopping, served) = (gateway.url("/api/v1/rates/a"), stopping.clone(), served.clone());
        load.push(tokio::spawn(async move {
            loop {
                let late = stopping.load(Ordering::Relaxed);
                match client.get(&url).send().await {
                    Ok(answer) => {
                        assert_eq!(answer.status(), 200);
                        assert_eq!(answer.text().await.unwrap(), r#"{"from":"core"}"#);
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                    // Only a new connection may be refused, and only after the signal.
                    Err(error) if error.is_connect() && late => return,
                    Err(error) => panic!("a request was cut: {error:?}"),
                }
            }
        }));
    }
    eventually("there is load", || async { served.load(Ordering::Relaxed) > 200 }).await;
    stopping.store(true, Ordering::Relaxed);
    gateway.begin_to_stop();
    for client in load {
        client.await.unwrap();
    }
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn idle_connections_do_not_hold_the_process_and_are_closed_in_order() {
    let mut gateway = GatewayProcess::start().await;
    let mut http1 = gateway.raw_tls().await;
    let http2 = gateway.client_builder().build().unwrap();
    http2.get(gateway.url("/health/live")).send().await.unwrap();

    let started = Instant::now();
    assert!(gateway.stop().await);
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    // Without `close_notify` this would be an error (RFC 8446 §6.1).
    assert_eq!(http1.read(&mut [0; 1]).await.unwrap(), 0);
}

/// Asks on one new connection after the other until the gateway is gone. How many were answered.
async fn connect_until_refused(address: SocketAddr, tls: TlsConnector) -> usize {
    let mut answered = 0;
    loop {
        let socket = match TcpStream::connect(address).await {
            Ok(socket) => socket,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
                return answered;
            }
        };
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = tls.connect(name, socket).await.expect("who is let in is served");
        let request = b"GET /api/v1/rates/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{answer:?}");
        answered += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_connects_in_the_moment_of_stopping_is_served_or_refused_and_never_reset() {
    for _ in 0..8 {
        let mut gateway = GatewayProcess::start().await;
        let tls = TlsConnector::from(Arc::new(gateway.tls_config()));
        let clients: Vec<_> = (0..16)
            .map(|_| tokio::spawn(connect_until_refused(gateway.https, tls.clone())))
            .collect();
        eventually("there is load", || async { gateway.core.seen().len() > 30 }).await;
        gateway.begin_to_stop();
        let mut answered = 0;
        for client in clients {
            answered += client.await.unwrap();
        }
        assert!(answered > 30);
        assert!(gateway.stop().await);
    }
}
