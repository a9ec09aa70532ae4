//! A service whose answers a test writes, byte for byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::raw_upstream::read_message;

/// What it sends back.
#[derive(Clone)]
pub(crate) struct Reply {
    bytes: Vec<u8>,
    closes: bool,
    /// Waits here before it answers.
    gate: Option<Arc<Semaphore>>,
}

impl Reply {
    /// 200 with these header lines and this body, whole.
    pub(crate) fn good(lines: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let head = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: {}\r\n\r\n", body.len());
        Self::raw([head.as_bytes(), body].concat())
    }

    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            closes: false,
            gate: None,
        }
    }

    /// And then the connection is closed.
    pub(crate) fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    pub(crate) fn behind(mut self, gate: &Arc<Semaphore>) -> Self {
        self.gate = Some(gate.clone());
        self
    }
}

type Script = Box<dyn Fn(&Asked) -> Reply + Send>;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) head: String,
    /// How many came before it.
    pub(crate) before: usize,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    script: Arc<Mutex<Script>>,
    seen: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Service {
    pub(crate) async fn start(script: impl Fn(&Asked) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let seen = Arc::default();
        Self {
            address: listener.local_addr().unwrap(),
            task: tokio::spawn(accept(listener, script.clone(), Arc::clone(&seen))),
            script,
            seen,
        }
    }

    pub(crate) fn answer(&self, script: impl Fn(&Asked) -> Reply + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Dies: connections are closed wherever they are, and no more are taken.
    pub(crate) async fn die(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, script: Arc<Mutex<Script>>, seen: Arc<Mutex<Vec<Asked>>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(serve(stream, script.clone(), seen.clone()));
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Mutex<Script>>, seen: Arc<Mutex<Vec<Asked>>>) {
    let mut buffer = Vec::new();
    while let Some((head, _)) = read_message(&mut stream, &mut buffer).await {
        let reply = {
            let mut seen = seen.lock().unwrap();
            let asked = Asked {
                head,
                before: seen.len(),
            };
            let reply = script.lock().unwrap()(&asked);
            seen.push(asked);
            reply
        };
        if let Some(gate) = reply.gate {
            gate.acquire().await.unwrap().forget();
        }
        if stream.write_all(&reply.bytes).await.is_err() || reply.closes {
            return;
        }
    }
}
