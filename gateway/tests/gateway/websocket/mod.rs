//! EDG-14: WebSockets through the gateway, byte by byte on both sides.

mod ends;
mod frames;
mod opening;

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

use crate::gateway_process::{GatewayProcess, POLICY, eventually};
use crate::raw_upstream::read_message;

pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A gateway with a route for WebSockets, and the service behind it.
pub(super) struct Sockets {
    pub(super) gateway: GatewayProcess,
    pub(super) upstream: TcpListener,
}

/// Both ends of an open socket: what one side writes, the other reads.
pub(super) struct Open {
    pub(super) client: TlsStream<TcpStream>,
    pub(super) server: TcpStream,
    pub(super) request: String,
    pub(super) answer: String,
}

impl Sockets {
    pub(super) async fn start(websocket: &str) -> Self {
        let gateway = GatewayProcess::start().await;
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sockets = Self { gateway, upstream };
        sockets.write_policy(websocket).await;
        sockets
    }

    pub(super) async fn write_policy(&self, websocket: &str) {
        let address = format!("address: http://{}", self.upstream.local_addr().unwrap());
        let route = format!(
            "routes:\n  follow:\n    match: {{ method: GET, path: /api/v1/events }}\n    auth: customers\n    scopes: [\"accounts:read\"]\n    cors: web\n    upstream: core\n    websocket: {websocket}\n"
        );
        let policy = POLICY
            .replace("address: unix:core.sock", &address)
            .replacen("routes:\n", &route, 1);
        let loaded = r#"portico_policy_reloads_total{outcome="loaded"}"#;
        let before = self.gateway.metric(loaded).await;
        self.gateway.policy_file("base.yaml", &policy);
        eventually("the edit takes effect", || async {
            self.gateway.metric(loaded).await > before
        })
        .await;
    }

    /// The handshake of a client with these fields instead of the usual ones.
    pub(super) fn handshake(&self, more: &str) -> String {
        let token = self.gateway.keys.token();
        format!(
            "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{more}\r\n"
        )
    }

    /// Sends a handshake and reads the head of the answer.
    pub(super) async fn ask(&self, handshake: &str) -> (TlsStream<TcpStream>, String) {
        let mut client = self.gateway.raw_tls().await;
        client.write_all(handshake.as_bytes()).await.unwrap();
        let answer = read_head(&mut client).await;
        (client, answer)
    }

    pub(super) async fn open(&self) -> Open {
        self.open_with(&self.handshake(""), AGREED).await
    }

    /// With an extension, which reserved bits are for.
    pub(super) async fn open_extended(&self) -> Open {
        let field = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        let agreed = AGREED.replacen("\r\n\r\n", &format!("\r\n{field}\r\n"), 1);
        self.open_with(&self.handshake(field), &agreed).await
    }

    pub(super) async fn open_with(&self, handshake: &str, agreed: &str) -> Open {
        let serving = async {
            let (mut server, _) = self.upstream.accept().await.unwrap();
            let (request, _) = read_message(&mut server, &mut Vec::new()).await.unwrap();
            server.write_all(agreed.as_bytes()).await.unwrap();
            (server, request)
        };
        let ((client, answer), (server, request)) = tokio::join!(self.ask(handshake), serving);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        Open {
            client,
            server,
            request,
            answer,
        }
    }
}

/// The head, and not a byte more.
async fn read_head(client: &mut TlsStream<TcpStream>) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match tokio::time::timeout(Duration::from_secs(5), client.read_u8()).await {
            Ok(Ok(byte)) => head.push(byte),
            Ok(Err(_)) => break,
            Err(_) => panic!("no head: {}", String::from_utf8_lossy(&head)),
        }
    }
    String::from_utf8(head).unwrap()
}

/// Exactly these bytes come next.
pub(crate) async fn expect(side: &mut (impl tokio::io::AsyncRead + Unpin), bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    tokio::time::timeout(Duration::from_secs(60), side.read_exact(&mut read))
        .await
        .expect("bytes in time")
        .unwrap();
    assert!(read == bytes, "other bytes came");
}

/// Everything until the other side closes.
pub(super) async fn rest(side: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut read = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), side.read_to_end(&mut read)).await;
    ended.expect("the connection ends").ok();
    read
}

/// A frame, with the mask of a client or without.
pub(crate) fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(bit | u8::try_from(length).unwrap()),
        length @ 126..65_536 => {
            frame.push(bit | 126);
            frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(bit | 127);
            frame.extend_from_slice(&u64::try_from(length).unwrap().to_be_bytes());
        }
    }
    let mask = mask.map_or([0; 4], |mask| {
        frame.extend_from_slice(&mask);
        mask
    });
    let masked = payload.iter().zip(mask.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

/// Code and reason of a masked close frame that is all there is.
pub(super) fn unmasked_close(bytes: &[u8]) -> (u16, String) {
    assert_eq!(bytes[0], 0x88);
    let length = usize::from(bytes[1] & 0x7f);
    assert_eq!(bytes[1] & 0x80, 0x80, "a client masks");
    assert_eq!(bytes.len(), 6 + length);
    let payload: Vec<u8> = bytes[6..]
        .iter()
        .zip(bytes[2..6].iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    let reason = String::from_utf8(payload[2..].to_vec()).unwrap();
    (u16::from_be_bytes([payload[0], payload[1]]), reason)
}
