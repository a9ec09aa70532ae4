//! A service behind the gateway that dies, hangs, resets or answers half, on a port of its own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// What it does with a request that it has read whole.
#[derive(Clone)]
pub(crate) enum Manner {
    /// 200, and keeps the connection.
    Good,
    /// This status.
    Answer(u16),
    /// 503, and when to come again.
    Busy,
    /// 200, with more than lies on the way when nobody reads.
    Large,
    /// Never, where this stands in the target; 200 elsewhere.
    NeverTo(&'static str),
    /// Closes without an answer.
    Break,
    /// Announces ten bytes, sends five and closes.
    Half,
    /// Says nothing until the semaphore lets it.
    Hold(Arc<Semaphore>),
    /// 200, and once the semaphore lets it another answer, to nothing.
    Surplus(Arc<Semaphore>),
}

struct Script {
    manner: Mutex<Manner>,
    /// What it answers to questions about its health, in turn.
    health: Mutex<Vec<u16>>,
    asked: AtomicUsize,
    connections: AtomicUsize,
    seen: Mutex<Vec<(String, Instant)>>,
}

impl Script {
    fn next_health(&self) -> u16 {
        let mut health = self.health.lock().unwrap();
        let next = health[0];
        health.rotate_left(1);
        next
    }
}

/// One address of the service.
pub(crate) struct RawUpstream {
    pub(crate) address: SocketAddr,
    script: Arc<Script>,
    task: JoinHandle<()>,
}

impl RawUpstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let script = Arc::new(Script {
            manner: Mutex::new(Manner::Good),
            health: Mutex::new(vec![200]),
            asked: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            seen: Mutex::default(),
        });
        Self {
            address: listener.local_addr().unwrap(),
            task: tokio::spawn(accept(listener, script.clone())),
            script,
        }
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.script.manner.lock().unwrap() = manner;
    }

    /// As a state of health: the question is taken and never answered.
    pub(crate) const SPEECHLESS: u16 = 0;

    /// What it answers to questions about its health.
    pub(crate) fn feel(&self, status: u16) {
        self.feel_in_turn(&[status]);
    }

    /// What it answers to them one after the other, again and again.
    pub(crate) fn feel_in_turn(&self, statuses: &[u16]) {
        *self.script.health.lock().unwrap() = statuses.to_vec();
    }

    /// How often it was asked about its health.
    pub(crate) fn asked(&self) -> usize {
        self.script.asked.load(Ordering::Relaxed)
    }

    /// Method and path of every request that was read whole, health checks left out.
    pub(crate) fn seen(&self) -> Vec<String> {
        let seen = self.script.seen.lock().unwrap();
        seen.iter().map(|(request, _)| request.clone()).collect()
    }

    /// The same, and when it had been read.
    pub(crate) fn seen_at(&self) -> Vec<(String, Instant)> {
        self.script.seen.lock().unwrap().clone()
    }

    /// How many connections it has accepted.
    pub(crate) fn connections(&self) -> usize {
        self.script.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self) -> usize {
        self.seen().len()
    }

    /// Refuses connections from now on, until it is revived.
    pub(crate) async fn die(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    pub(crate) async fn revive(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.task = tokio::spawn(accept(listener, self.script.clone()));
    }
}

async fn accept(listener: TcpListener, script: Arc<Script>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        script.connections.fetch_add(1, Ordering::Relaxed);
        connections.spawn(serve(stream, script.clone()));
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Script>) {
    let mut buffer = Vec::new();
    while let Some((head, _)) = read_message(&mut stream, &mut buffer).await {
        let words: Vec<&str> = head.split(' ').take(2).collect();
        let request = words.join(" ");
        if request == "GET /health" {
            script.asked.fetch_add(1, Ordering::Relaxed);
            let status = script.next_health();
            if status == RawUpstream::SPEECHLESS {
                return std::future::pending().await;
            }
            let answer =
                format!("HTTP/1.1 {status} Health\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
            return;
        }
        script
            .seen
            .lock()
            .unwrap()
            .push((request.clone(), Instant::now()));
        let manner = script.manner.lock().unwrap().clone();
        let surplus = match &manner {
            Manner::Surplus(gate) => Some(gate.clone()),
            _ => None,
        };
        let Some(answer) = answer(manner, &request, &mut stream).await else {
            return;
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        if let Some(gate) = surplus {
            gate.acquire().await.unwrap().forget();
            let _ = stream.write_all(answer.as_bytes()).await;
            let surplus = ("surplus".to_owned(), Instant::now());
            script.seen.lock().unwrap().push(surplus);
        }
    }
}

/// A whole answer; `None` when the connection is to be closed.
async fn answer(manner: Manner, request: &str, stream: &mut TcpStream) -> Option<String> {
    let (status, fields, body) = match manner {
        Manner::NeverTo(part) if request.contains(part) => std::future::pending().await,
        Manner::Good | Manner::NeverTo(_) => (200, "", "good"),
        Manner::Answer(status) => (status, "", "mine"),
        Manner::Busy => (503, "Retry-After: 3\r\n", "mine"),
        Manner::Large => (200, "", long_text()),
        Manner::Break => return None,
        Manner::Half => {
            let half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf.";
            let _ = stream.write_all(half.as_bytes()).await;
            return None;
        }
        Manner::Hold(gate) => {
            gate.acquire().await.unwrap().forget();
            (200, "", "late")
        }
        Manner::Surplus(_) => (200, "", "mine"),
    };
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status} Status\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    ))
}

/// 32 MiB.
fn long_text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| "long".repeat(8 << 20));
    &TEXT
}

/// Head and body of the next request once it is there whole; `None` at the end.
pub(crate) async fn read_message(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length:")?
                        .trim()
                        .parse()
                        .ok()
                })
                .unwrap_or(0);
            let whole = end + 4 + length;
            if buffer.len() >= whole {
                let message: Vec<u8> = buffer.drain(..whole).collect();
                return Some((head, message[end + 4..].to_vec()));
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
