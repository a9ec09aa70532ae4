//! Connections between two requests.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::Client;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::{RATES, in_front_of};
use crate::authority::Authority;
use crate::gateway_process::{GatewayProcess, POLICY, eventually};
use crate::raw_upstream::{Manner, RawUpstream, read_message};
use crate::sockets;
use crate::tls_upstream::acceptor;

async fn ask(gateway: &GatewayProcess, client: &Client) -> (u16, String) {
    let answer = client.get(gateway.url(RATES)).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap_or_default())
}

#[tokio::test]
async fn one_connection_serves_request_after_request_whatever_they_are_answered() {
    let upstream = RawUpstream::start().await;
    let gateway = in_front_of(&[&upstream], "").await;
    let client = gateway.client();
    for status in [200, 404, 503, 500, 200] {
        upstream.behave(Manner::Answer(status));
        assert_eq!(ask(&gateway, &client).await, (status, "mine".to_owned()));
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn what_nobody_asked_for_is_never_the_answer_to_the_next_request() {
    for comes_with_the_answer in [true, false] {
        let upstream = RawUpstream::start().await;
        let gateway = in_front_of(&[&upstream], "").await;
        let client = gateway.client();
        let gate = Arc::new(Semaphore::new(usize::from(comes_with_the_answer)));
        upstream.behave(Manner::Surplus(gate.clone()));
        assert_eq!(ask(&gateway, &client).await, (200, "mine".to_owned()));
        if !comes_with_the_answer {
            gate.add_permits(1);
        }
        eventually("it is sent", || async { upstream.count() == 2 }).await;

        upstream.behave(Manner::Good);
        assert_eq!(ask(&gateway, &client).await, (200, "good".to_owned()));
        assert_eq!(upstream.connections(), 2);
    }
}

#[tokio::test]
async fn a_connection_that_was_cut_or_closed_serves_nobody_else() {
    let mut upstream = RawUpstream::start().await;
    let gateway = in_front_of(&[&upstream], "").await;
    let client = gateway.client();
    upstream.behave(Manner::Half);
    assert_eq!(ask(&gateway, &client).await.0, 200);
    upstream.behave(Manner::Good);
    assert_eq!(ask(&gateway, &client).await, (200, "good".to_owned()));

    upstream.die().await;
    upstream.revive().await;
    assert_eq!(ask(&gateway, &client).await, (200, "good".to_owned()));
    assert_eq!(upstream.connections(), 3);
}

/// A service over TLS that sends half a record behind its first answer, and the other half once it is asked again on that
/// connection: in it is an answer to nothing. On other connections it answers well.
async fn halving(authority: &Authority) -> SocketAddr {
    let acceptor = acceptor(authority);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut is_first = true;
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(answer_halves(acceptor.clone(), client, is_first));
            is_first = false;
        }
    });
    address
}

async fn answer_halves(acceptor: TlsAcceptor, client: TcpStream, is_first: bool) -> Option<()> {
    let mut stream = acceptor.accept(client).await.ok()?;
    let (mut buffer, mut held) = (Vec::new(), Vec::new());
    while read_message(&mut stream, &mut buffer).await.is_some() {
        let (socket, session) = stream.get_mut();
        let mut record = |body: &str| {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            session.writer().write_all(answer.as_bytes()).unwrap();
            let mut record = Vec::new();
            while session.wants_write() {
                session.write_tls(&mut record).unwrap();
            }
            record
        };
        let mut sent = std::mem::take(&mut held);
        if is_first && sent.is_empty() {
            let (mine, surplus) = (record("mine"), record("stolen"));
            let (now, later) = surplus.split_at(surplus.len() / 2);
            held = later.to_vec();
            sent = [&mine, now].concat();
        } else {
            sent.extend(record("good"));
        }
        socket.write_all(&sent).await.ok()?;
    }
    Some(())
}

/// A gateway in front of a core over TLS.
async fn over_tls(authority: &Authority, address: SocketAddr) -> GatewayProcess {
    let core = "    address: unix:core.sock\n    authorization: forward\n";
    assert!(POLICY.contains(core));
    let tls = "{ min: \"1.3\", authority: core, server_name: core.bank.internal }";
    let over_tls =
        format!("    address: \"https://{address}\"\n    tls: {tls}\n    authorization: forward\n");
    GatewayProcess::with_policy(&POLICY.replace(core, &over_tls), |directory| {
        std::fs::write(directory.join("core.ca.pem"), authority.pem()).unwrap();
    })
    .await
}

#[tokio::test]
async fn a_connection_that_waits_for_the_rest_of_a_tls_record_serves_nobody_else() {
    service_runtime::crypto::install_provider();
    let authority = Authority::new("authority of the core");
    let gateway = over_tls(&authority, halving(&authority).await).await;
    let client = gateway.client();
    assert_eq!(ask(&gateway, &client).await, (200, "mine".to_owned()));
    for _ in 0..3 {
        assert_eq!(ask(&gateway, &client).await, (200, "good".to_owned()));
    }
}

/// Answers well, and on a connection with a gate sends an answer to nothing once that lets it.
async fn talk(
    acceptor: TlsAcceptor,
    client: TcpStream,
    gate: Option<Arc<Semaphore>>,
    sent: Arc<Semaphore>,
) -> Option<()> {
    let mut stream = acceptor.accept(client).await.ok()?;
    let mut buffer = Vec::new();
    while read_message(&mut stream, &mut buffer).await.is_some() {
        let good = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";
        stream.write_all(good).await.ok()?;
        if let Some(gate) = &gate {
            gate.acquire().await.ok()?.forget();
            let surplus = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen";
            stream.write_all(surplus).await.ok()?;
            stream.flush().await.ok()?;
            sent.add_permits(1);
        }
    }
    Some(())
}

#[tokio::test]
async fn what_comes_over_tls_while_a_connection_rests_is_never_the_answer_to_the_next_request() {
    service_runtime::crypto::install_provider();
    let authority = Authority::new("authority of the core");
    let acceptor = acceptor(&authority);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (gate, sent) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (mut first, told) = (Some(gate.clone()), sent.clone());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(talk(acceptor.clone(), client, first.take(), told.clone()));
        }
    });
    let gateway = over_tls(&authority, address).await;
    let client = gateway.client();
    assert_eq!(ask(&gateway, &client).await, (200, "good".to_owned()));
    gate.add_permits(1);
    sent.acquire().await.unwrap().forget();
    eventually("it is in the socket of the gateway", || async {
        sockets::is_anything_unread_from(address.port())
    })
    .await;
    for _ in 0..3 {
        assert_eq!(ask(&gateway, &client).await, (200, "good".to_owned()));
    }
}
