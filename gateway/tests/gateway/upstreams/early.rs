//! A service that answers before the body of a request is there: the client has its answer at once, and whatever comes of the
//! body later is no request, neither here nor there (FR-10, FR-12).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::{RATES, put_behind};
use crate::gateway_process::GatewayProcess;

/// A request for whoever does not know that it is a body.
const BODY: &str = "GET /api/v1/stolen HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The service: it answers each head at once, POST with 413, and reads the body afterwards.
#[derive(Clone, Default)]
struct Hasty {
    /// The number of the connection, method and path of each request, and what came of its body.
    seen: Arc<Mutex<Vec<(usize, String, String)>>>,
    closes: bool,
}

impl Hasty {
    async fn start(closes: bool) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Self {
            closes,
            ..Self::default()
        };
        let serving = service.clone();
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.serve(stream, number).await });
                number += 1;
            }
        });
        (service, address)
    }

    async fn serve(self, mut stream: TcpStream, number: usize) -> Option<()> {
        let mut bytes = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                    break end + 4;
                }
                read(&mut stream, &mut bytes).await?;
            };
            let head = String::from_utf8(bytes.drain(..end).collect()).unwrap();
            let request: Vec<&str> = head.split(' ').take(2).collect();
            let index = {
                let mut seen = self.seen.lock().unwrap();
                seen.push((number, request.join(" "), String::new()));
                seen.len() - 1
            };
            let (status, close, body) = match (head.starts_with("POST "), self.closes) {
                (true, true) => (413, "Connection: close\r\n", "mine"),
                (true, false) => (413, "", "mine"),
                (false, _) => (200, "", "good"),
            };
            let answer = format!("HTTP/1.1 {status} Status\r\nContent-Length: 4\r\n{close}\r\n{body}");
            stream.write_all(answer.as_bytes()).await.ok()?;
            if !close.is_empty() {
                return None;
            }
            let head = head.to_ascii_lowercase();
            let mut lines = head.lines();
            let field = lines.find_map(|line| line.strip_prefix("content-length: "));
            let mut left: usize = field.map_or(0, |length| length.parse().unwrap());
            while left > 0 {
                if bytes.is_empty() {
                    read(&mut stream, &mut bytes).await?;
                }
                let part: Vec<u8> = bytes.drain(..left.min(bytes.len())).collect();
                left -= part.len();
                self.seen.lock().unwrap()[index]
                    .2
                    .push_str(std::str::from_utf8(&part).unwrap());
            }
        }
    }

    fn seen(&self) -> Vec<(usize, String, String)> {
        self.seen.lock().unwrap().clone()
    }
}

async fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<usize> {
    stream.read_buf(bytes).await.ok().filter(|count| *count > 0)
}

async fn before(closes: bool) -> (GatewayProcess, Hasty) {
    let gateway = GatewayProcess::start().await;
    let (service, address) = Hasty::start(closes).await;
    put_behind(&gateway, &[format!("http://{address}")], "").await;
    (gateway, service)
}

/// Sends the head of an order and the beginning of its body, and reads the refusal, for which nothing more has to come.
async fn refused(gateway: &GatewayProcess, begun: &str) -> TlsStream<TcpStream> {
    let (token, length) = (gateway.keys.token(), BODY.len());
    let order = format!(
        "POST /api/v1/transfers HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{begun}"
    );
    let mut client = gateway.raw_tls().await;
    client.write_all(order.as_bytes()).await.unwrap();
    let answer = until(&mut client, "mine").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    client
}

/// What comes until this, or until the end; sooner than a body has to be there.
async fn until(client: &mut TlsStream<TcpStream>, end: &str) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        while !bytes.ends_with(end.as_bytes()) && client.read_buf(&mut bytes).await.unwrap_or(0) > 0 {}
    };
    let read = timeout(Duration::from_millis(1_500), reading).await;
    let text = String::from_utf8(bytes).unwrap();
    assert!(read.is_ok(), "it waits, behind {text:?}");
    text
}

async fn rates(gateway: &GatewayProcess) {
    let answer = gateway.get(RATES).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.unwrap(), "good");
}

#[tokio::test]
async fn fr10_an_answer_before_the_whole_body_comes_at_once_and_the_body_is_no_request() {
    let (gateway, service) = before(false).await;
    let (now, later) = BODY.split_at(10);
    let mut client = refused(&gateway, now).await;
    let next = format!("{later}GET {RATES} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.write_all(next.as_bytes()).await.unwrap();
    let rest = until(&mut client, "good").await;
    // Its own answer, or an end, behind which a client asks again.
    assert!(
        rest.is_empty() || (rest.starts_with("HTTP/1.1 200 ") && rest.matches("HTTP/1.1").count() == 1),
        "{rest}"
    );
    rates(&gateway).await;
    let seen = service.seen();
    let orders: Vec<_> = seen
        .iter()
        .filter(|(_, request, _)| !request.ends_with(RATES))
        .collect();
    let [(_, request, body)] = orders.as_slice() else {
        panic!("{seen:?}")
    };
    assert_eq!(request, "POST /api/v1/transfers");
    assert!(BODY.starts_with(body.as_str()), "{seen:?}");
    assert!(body.len() >= now.len(), "{seen:?}");
}

#[tokio::test]
async fn fr12_a_connection_that_waits_for_a_body_serves_nobody_else() {
    let (gateway, service) = before(false).await;
    // The client goes before its body is there; another one stays.
    drop(refused(&gateway, "G").await);
    let _stays = refused(&gateway, "G").await;
    for _ in 0..4 {
        rates(&gateway).await;
    }
    let seen = service.seen();
    let waiting: Vec<usize> = seen
        .iter()
        .filter(|(_, request, _)| request.starts_with("POST "))
        .map(|(number, ..)| *number)
        .collect();
    assert_eq!(waiting.len(), 2, "{seen:?}");
    let others = seen.iter().filter(|(_, request, _)| request.starts_with("GET "));
    let others: Vec<_> = others.collect();
    assert_eq!(others.len(), 4, "{seen:?}");
    assert!(
        others.iter().all(|(number, ..)| !waiting.contains(number)),
        "{seen:?}"
    );
}

#[tokio::test]
async fn fr10_the_rest_of_a_body_is_waited_for_no_longer_than_a_body_may_take() {
    let (gateway, _service) = before(false).await;
    let mut client = refused(&gateway, "G").await;
    let mut rest = Vec::new();
    timeout(Duration::from_secs(10), client.read_to_end(&mut rest))
        .await
        .expect("the connection ends")
        .ok();
    assert_eq!(rest, b"", "{}", rest.escape_ascii());
}

#[tokio::test]
async fn a_service_that_refuses_and_closes_before_the_body_is_heard() {
    let (gateway, service) = before(true).await;
    for _ in 0..5 {
        refused(&gateway, "G").await;
    }
    rates(&gateway).await;
    assert_eq!(service.seen().len(), 6, "{:?}", service.seen());
}
