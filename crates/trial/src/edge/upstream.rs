//! The service behind the gateway: answers at once, when it is told to, half, never, with a number, or as a WebSocket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const BODY: &str = r#"{"id":"acc_1","balance":1200,"currency":"EUR"}"#;

/// What the upstream does for each path.
#[derive(Debug)]
struct Behaviour {
    /// `/held` waits for one of these.
    released: Semaphore,
    /// Requests that wait there, or have waited.
    held: AtomicUsize,
    /// Requests to `/lost`, which get no answer.
    lost: AtomicUsize,
    /// Answers of `/numbered`.
    numbered: AtomicUsize,
    /// WebSockets that were opened.
    sockets: AtomicUsize,
    /// How long every answer takes.
    delay: Duration,
}

impl Behaviour {
    fn after(delay: Duration) -> Arc<Self> {
        Arc::new(Self {
            released: Semaphore::new(0),
            held: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            numbered: AtomicUsize::new(0),
            sockets: AtomicUsize::new(0),
            delay,
        })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "an upstream that is slow is slow by a clock"
    )]
    async fn wait(&self) {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
    }
}

/// An upstream in this process; it ends when dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    behaviour: Arc<Behaviour>,
    _serving: JoinSet<()>,
}

impl Upstream {
    /// Starts on a free port of loopback.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_slow(Duration::ZERO).await
    }

    /// Starts one that takes so long for every answer.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start_slow(delay: Duration) -> anyhow::Result<Self> {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = listener.local_addr()?;
        let behaviour = Behaviour::after(delay);
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, behaviour.clone()));
        Ok(Self {
            address,
            behaviour,
            _serving: serving,
        })
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests have come to `/held`.
    #[must_use]
    pub fn held(&self) -> usize {
        self.behaviour.held.load(Ordering::Relaxed)
    }

    /// How many requests have come to `/lost`: they were read, and then their connection was closed.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.behaviour.lost.load(Ordering::Relaxed)
    }

    /// How many answers `/numbered` has given, each with its own number.
    #[must_use]
    pub fn numbered(&self) -> usize {
        self.behaviour.numbered.load(Ordering::Relaxed)
    }

    /// How many WebSockets were opened.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.behaviour.sockets.load(Ordering::Relaxed)
    }

    /// Answers so many of those at `/held`.
    pub fn release(&self, requests: usize) {
        self.behaviour.released.add_permits(requests);
    }
}

/// Serves on an address until the process ends: an upstream as a process of its own.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(address: SocketAddr) -> anyhow::Result<()> {
    accept(listen(address)?, Behaviour::after(Duration::ZERO)).await;
    Ok(())
}

/// With room for all the sockets of a drill at once: what finds none waits a second for its next try (RFC 6298 §2).
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4_096)
}

async fn accept(listener: TcpListener, behaviour: Arc<Behaviour>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                let behaviour = behaviour.clone();
                // A connection that breaks off is the client's to count.
                connections.spawn(async move { drop(connection(stream, &behaviour).await) });
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, behaviour: &Behaviour) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let (mut target, mut wants_socket, mut line) = (String::new(), false, String::new());
        let mut length = 0;
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            if target.is_empty() {
                line.split(' ').nth(1).unwrap_or_default().clone_into(&mut target);
            }
            let field = line.to_ascii_lowercase();
            wants_socket |= field.starts_with("upgrade: websocket");
            if let Some(value) = field.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
        }
        stream.read_exact(&mut vec![0; length]).await?;
        let mut body = BODY.to_owned();
        match target.as_str() {
            _ if wants_socket => {
                behaviour.sockets.fetch_add(1, Ordering::Relaxed);
                return echo(stream).await;
            }
            "/lost" => {
                behaviour.lost.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            "/numbered" => {
                let number = behaviour.numbered.fetch_add(1, Ordering::Relaxed);
                body = format!(r#"{{"number":{number}}}"#);
            }
            "/held" => {
                behaviour.held.fetch_add(1, Ordering::Relaxed);
                if let Ok(released) = behaviour.released.acquire().await {
                    released.forget();
                }
            }
            "/broken" => {
                let half = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
                return stream.write_all(half.as_bytes()).await;
            }
            _ => {}
        }
        behaviour.wait().await;
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
    }
}

/// Every frame comes back. The clients of a drill send short ones, and masked, as RFC 6455 §5.1 wants it.
async fn echo(mut stream: BufReader<TcpStream>) -> std::io::Result<()> {
    let agreed = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    stream.write_all(agreed.as_bytes()).await?;
    loop {
        let mut head = [0; 6];
        stream.read_exact(&mut head).await?;
        let [opcode, length, mask @ ..] = head;
        let length = length & 0x7f;
        let mut payload = vec![0; usize::from(length)];
        stream.read_exact(&mut payload).await?;
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        stream
            .write_all(&[&[opcode, length][..], &payload].concat())
            .await?;
        stream.flush().await?;
    }
}
