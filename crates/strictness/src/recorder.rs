//! The upstream behind a server under test: it keeps every byte, and answers what it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::canonical::{self, Fault, Message};

/// What it answers as long as nothing else was said.
const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

/// What came in since it was last asked.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Whole requests, in the order of their arrival.
    pub messages: Vec<Message>,
    /// What was ambiguous; nothing is read on that connection after it.
    pub faults: Vec<Fault>,
    /// How many connections were opened.
    pub connections: usize,
}

#[derive(Default)]
struct State {
    recorded: Recorded,
    answer: Option<Vec<u8>>,
    next: Option<Vec<u8>>,
}

/// A listener on a port of its own. Its connections end with it.
pub struct Recorder {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

impl Recorder {
    /// Listens on a free port of the loopback.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::<Mutex<State>>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, state.clone()));
        Ok(Self {
            address,
            state,
            _tasks: tasks,
        })
    }

    /// What came in since the last call.
    pub fn take(&self) -> Recorded {
        std::mem::take(&mut lock(&self.state).recorded)
    }

    /// Answers every request with these bytes from now on, and closes; `None` is a good answer on a connection that
    /// stays open.
    pub fn answer_with(&self, bytes: Option<Vec<u8>>) {
        lock(&self.state).answer = bytes;
    }

    /// Answers the next request with these bytes, and keeps the connection open.
    pub fn answer_next(&self, bytes: &[u8]) {
        lock(&self.state).next = Some(bytes.to_vec());
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        lock(&state).recorded.connections += 1;
        connections.spawn(serve(stream, state.clone()));
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut bytes = Vec::new();
    loop {
        match canonical::next(&bytes) {
            Ok(None) => {}
            Ok(Some((message, length))) => {
                bytes.drain(..length);
                let is_head = message.method == "HEAD";
                let (next, answer) = {
                    let mut state = lock(&state);
                    state.recorded.messages.push(message);
                    (state.next.take(), state.answer.clone())
                };
                let good = GOOD.strip_suffix(b"{}").filter(|_| is_head).unwrap_or(GOOD);
                let bytes = next.as_deref().or(answer.as_deref()).unwrap_or(good);
                let written = stream.write_all(bytes).await;
                if (next.is_none() && answer.is_some()) || written.is_err() {
                    return;
                }
                continue;
            }
            Err(fault) => {
                lock(&state).recorded.faults.push(fault);
                let _ = stream.write_all(GOOD).await;
                return;
            }
        }
        if !matches!(stream.read_buf(&mut bytes).await, Ok(count) if count > 0) {
            return;
        }
    }
}
