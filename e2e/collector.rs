//! What is not ours and hears of us: a collector of traces and an error tracker, which keep every byte of what they are sent.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A server that takes everything.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    bodies: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let collector = Self {
            address: listener.local_addr().unwrap(),
            bodies: Arc::default(),
        };
        let bodies = collector.bodies.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, bodies) = (stream.unwrap(), bodies.clone());
                std::thread::spawn(move || keep(stream, &bodies));
            }
        });
        collector
    }

    /// The bodies of all requests so far, one behind the other.
    pub(crate) fn kept(&self) -> Vec<u8> {
        lock(&self.bodies).clone()
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        lock(&self.bodies)
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    }
}

fn lock(bodies: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    bodies.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request, with a `Content-Length`; whoever sends another connects again.
fn keep(mut stream: TcpStream, bodies: &Mutex<Vec<u8>>) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    let body = loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        assert!(
            !head.contains("content-encoding"),
            "what is compressed hides what is in it"
        );
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        if bytes.len() >= end + 4 + length {
            break &bytes[end + 4..];
        }
    };
    lock(bodies).extend_from_slice(body);
    // It may be gone.
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
}
