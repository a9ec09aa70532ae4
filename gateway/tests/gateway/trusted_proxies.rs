//! Listeners behind a proxy: whose a connection and a request are, and who may say so (AD-2, AD-3, AD-5).

use std::net::SocketAddr;
use std::sync::Arc;

use gateway::settings::ConnectionSettings;
use keyring::Revocation;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::clients::exchange;
use crate::gateway_process::{GatewayProcess, POLICY, eventually, now};

const PROXY: &str = "127.0.0.1";
const STRANGER: &str = "127.0.0.2";

/// A gateway with two listeners behind a proxy at [`PROXY`]: one of each kind.
async fn behind_a_proxy() -> GatewayProcess {
    behind_a_proxy_with(POLICY, ConnectionSettings::default()).await
}

async fn behind_a_proxy_with(policy: &str, bounds: ConnectionSettings) -> GatewayProcess {
    let listener = |name: &str| {
        format!(
            "  {name}:\n    https: {{ bind: \"127.0.0.1:0\", tls: {{ min: \"1.2\", certificate: gateway }} }}\n    trusted_proxies: {{ from: [balancers], client: {name} }}\n"
        )
    };
    let listeners = format!(
        "addresses: {{ balancers: [{PROXY}] }}\nlisteners:\n{}{}",
        listener("proxy_protocol"),
        listener("x_forwarded_for")
    );
    let policy = policy.replacen("listeners:\n", &listeners, 1);
    GatewayProcess::with(&policy, |settings| settings.connections = bounds).await
}

async fn connect(gateway: &GatewayProcess, listener: &str, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let from: SocketAddr = format!("{from}:0").parse().unwrap();
    socket.bind(from).unwrap();
    let address = gateway.address(&format!("{listener}.https"));
    socket.connect(address).await.unwrap()
}

async fn secure(gateway: &GatewayProcess, socket: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(gateway.tls_config()));
    connector.connect(name, socket).await
}

/// A connection that the proxy has announced like this.
async fn announced(gateway: &GatewayProcess, header: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut socket = connect(gateway, "proxy_protocol", PROXY).await;
    socket.write_all(header).await?;
    secure(gateway, socket).await
}

fn of(client: &str) -> String {
    format!("PROXY TCP4 {client} 203.0.113.1 4711 443\r\n")
}

async fn ask(stream: &mut TlsStream<TcpStream>, path: &str, fields: &str) -> String {
    exchange(
        stream,
        &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"),
    )
    .await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

const RATES: &str = "/api/v1/rates/EUR-USD";
const SCARCE: &str = "/api/v1/scarce";

#[tokio::test]
async fn ad5_who_is_announced_is_the_client_and_nobody_else_may_connect() {
    let gateway = behind_a_proxy().await;
    let v2 = [
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(),
        &[192, 0, 2, 8, 203, 0, 113, 1, 1, 1, 1, 187],
    ]
    .concat();
    for (header, client) in [
        (of("192.0.2.7").into_bytes(), "192.0.2.7"),
        (v2, "192.0.2.8"),
        (
            b"PROXY TCP6 ::ffff:192.0.2.9 ::1 4711 443\r\n".to_vec(),
            "192.0.2.9",
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), PROXY),
    ] {
        let mut stream = announced(&gateway, &header).await.unwrap();
        // What a client says of itself stays without effect.
        let answer = ask(&mut stream, RATES, "X-Forwarded-For: 198.51.100.1\r\n").await;
        assert_eq!(status(&answer), "200", "{answer}");
        assert_eq!(gateway.core.last().header("x-forwarded-for"), Some(client));
    }

    for (from, header, reason) in [
        (STRANGER, of("192.0.2.7"), "stranger"),
        (PROXY, "PROXY TCP4 192.0.2.7\r\n\r\n".to_owned(), "unannounced"),
    ] {
        let counted = format!("portico_connections_refused_total{{reason=\"{reason}\"}}");
        let before = gateway.metric(&counted).await.unwrap_or_default();
        let mut socket = connect(&gateway, "proxy_protocol", from).await;
        socket.write_all(header.as_bytes()).await.unwrap();
        assert!(secure(&gateway, socket).await.is_err(), "{reason}");
        eventually(reason, || async { gateway.metric(&counted).await > Some(before) }).await;
    }
    let silent = connect(&gateway, "proxy_protocol", PROXY).await;
    assert!(secure(&gateway, silent).await.is_err(), "TLS is no announcement");
}

#[tokio::test]
async fn ad5_limits_and_blocks_are_of_the_client_that_is_announced() {
    let gateway = behind_a_proxy().await;
    let ask_as = async |client: &str, path: &str| {
        let mut stream = announced(&gateway, of(client).as_bytes()).await.unwrap();
        status(&ask(&mut stream, path, "").await).to_owned()
    };
    for expected in ["200", "200", "429"] {
        assert_eq!(ask_as("192.0.2.7", SCARCE).await, expected);
    }
    assert_eq!(ask_as("192.0.2.8", SCARCE).await, "200");

    gateway.keys.revoke(vec![Revocation::Network {
        address: "192.0.2.7".parse().unwrap(),
        prefix: 32,
        until: now().timestamp() + 60,
    }]);
    eventually("the block is known", || async {
        ask_as("192.0.2.7", RATES).await == "403"
    })
    .await;
    assert_eq!(ask_as("192.0.2.8", RATES).await, "200");
}

#[tokio::test]
async fn ad5_connections_are_counted_by_client_and_never_for_a_proxy() {
    let bounds = ConnectionSettings {
        max_per_address: 2,
        handshakes_per_second: 0,
        ..ConnectionSettings::default()
    };
    let gateway = behind_a_proxy_with(POLICY, bounds).await;
    let (of_one, of_another) = (of("192.0.2.7"), of("192.0.2.8"));
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(announced(&gateway, of_one.as_bytes()).await.unwrap());
    }
    assert!(announced(&gateway, of_one.as_bytes()).await.is_err(), "a third");
    held.push(announced(&gateway, of_another.as_bytes()).await.unwrap());
    // A proxy that tells with each request whose it is may have as many as it needs.
    for _ in 0..3 {
        let socket = connect(&gateway, "x_forwarded_for", PROXY).await;
        held.push(secure(&gateway, socket).await.unwrap());
    }
    for _ in 0..2 {
        let socket = connect(&gateway, "x_forwarded_for", STRANGER).await;
        held.push(secure(&gateway, socket).await.unwrap());
    }
    let socket = connect(&gateway, "x_forwarded_for", STRANGER).await;
    assert!(secure(&gateway, socket).await.is_err(), "a third of a stranger");
    assert_eq!(held.len(), 8);
}

#[tokio::test]
async fn ad2_ad3_a_proxy_of_ours_is_believed_about_the_client_and_about_nothing_else() {
    let gateway = behind_a_proxy().await;
    let socket = connect(&gateway, "x_forwarded_for", PROXY).await;
    let mut stream = secure(&gateway, socket).await.unwrap();
    for (fields, client) in [
        ("X-Forwarded-For: 198.51.100.1, 192.0.2.7\r\n", "192.0.2.7"),
        (
            "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 192.0.2.8, 127.0.0.1\r\n",
            "192.0.2.8",
        ),
        ("X-Forwarded-For: 192.0.2.7, unknown\r\n", PROXY),
        ("", PROXY),
    ] {
        let lies = "X-Forwarded-Proto: http\r\nX-Forwarded-Host: evil.example\r\nForwarded: for=198.51.100.9\r\nX-Real-IP: 198.51.100.9\r\n";
        let answer = ask(&mut stream, RATES, &format!("{fields}{lies}")).await;
        assert_eq!(status(&answer), "200", "{answer}");
        let seen = gateway.core.last();
        assert_eq!(seen.header("x-forwarded-for"), Some(client), "{fields}");
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.header("x-forwarded-host"), Some("localhost"));
        assert_eq!(seen.header("forwarded"), None);
        assert_eq!(seen.header("x-real-ip"), None);
    }
    // Clients of one connection have limits of their own.
    for (client, expected) in [
        ("192.0.2.7", "200"),
        ("192.0.2.7", "200"),
        ("192.0.2.8", "200"),
        ("192.0.2.7", "429"),
    ] {
        let answer = ask(&mut stream, SCARCE, &format!("X-Forwarded-For: {client}\r\n")).await;
        assert_eq!(status(&answer), expected, "{client}");
    }
}

#[tokio::test]
async fn ad2_nobody_else_is_believed() {
    let gateway = behind_a_proxy().await;
    let socket = connect(&gateway, "x_forwarded_for", STRANGER).await;
    let mut stream = secure(&gateway, socket).await.unwrap();
    let answer = ask(&mut stream, RATES, "X-Forwarded-For: 192.0.2.7\r\n").await;
    assert_eq!(status(&answer), "200", "{answer}");
    assert_eq!(gateway.core.last().header("x-forwarded-for"), Some(STRANGER));

    // On a listener without proxies, the one that is trusted elsewhere is a client like any other.
    let mut stream = gateway.raw_tls().await;
    ask(&mut stream, RATES, "X-Forwarded-For: 192.0.2.7\r\n").await;
    assert_eq!(gateway.core.last().header("x-forwarded-for"), Some(PROXY));
}

#[tokio::test]
async fn what_a_proxy_relays_malformed_counts_against_nobody() {
    let policy = POLICY.replace("6000/min, burst: 6000", "20/h, burst: 20");
    let gateway = behind_a_proxy_with(&policy, ConnectionSettings::default()).await;
    let malformed = async |from: &str| {
        let socket = connect(&gateway, "x_forwarded_for", from).await;
        let mut stream = secure(&gateway, socket).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok();
        status(&answer).to_owned()
    };
    for _ in 0..21 {
        assert_eq!(malformed(PROXY).await, "400");
    }
    // Whose these are, is known.
    for _ in 0..20 {
        assert_eq!(malformed(STRANGER).await, "400");
    }
    assert_eq!(malformed(STRANGER).await, "429");
}

#[tokio::test]
async fn ad2_a_client_that_a_proxy_names_has_so_many_requests_under_way_and_no_more() {
    let bounds = ConnectionSettings {
        max_in_flight_per_address: 2,
        ..ConnectionSettings::default()
    };
    let gateway = behind_a_proxy_with(POLICY, bounds).await;
    let ask_for = async |client: &str, path: &str| {
        let socket = connect(&gateway, "x_forwarded_for", PROXY).await;
        let mut stream = secure(&gateway, socket).await.unwrap();
        ask(&mut stream, path, &format!("X-Forwarded-For: {client}\r\n")).await
    };
    let gate = gateway.core.hold();
    let held = futures::future::join(ask_for("192.0.2.7", RATES), ask_for("192.0.2.7", RATES));
    let others = async {
        eventually("two are under way", || async { gateway.core.seen().len() == 2 }).await;
        let third = ask_for("192.0.2.7", "/health/live").await;
        assert_eq!(status(&third), "429", "{third}");
        assert!(third.contains("urn:portico:problem:too-many-at-once"), "{third}");
        assert!(
            third.to_ascii_lowercase().contains("retry-after: 1\r\n"),
            "{third}"
        );
        assert_eq!(
            status(&ask_for("192.0.2.8", "/health/live").await),
            "200",
            "another client"
        );
        gate.add_permits(2);
    };
    let ((first, second), ()) = futures::future::join(held, others).await;
    assert_eq!((status(&first), status(&second)), ("200", "200"));
    eventually("their places come back", || async {
        status(&ask_for("192.0.2.7", "/health/live").await) == "200"
    })
    .await;
}
