//! What stands in the way on purpose, for the controls: news that come late, and workers that know different things.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy, copy_bidirectional};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// A socket in front of a control plane, behind which every answer is as late as it is told to be.
#[derive(Debug)]
pub(super) struct Lag {
    milliseconds: Arc<AtomicU64>,
    _serving: JoinSet<()>,
}

impl Lag {
    /// Listens at `socket` for the one behind it; nothing is late yet.
    pub(super) fn start(socket: &Path, behind: PathBuf) -> anyhow::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let milliseconds = Arc::new(AtomicU64::new(0));
        let (lag, mut serving) = (milliseconds.clone(), JoinSet::new());
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                // A connection that breaks off is the gateway's to make again.
                connections.spawn(carry(client, behind.clone(), lag.clone()));
            }
        });
        Ok(Self {
            milliseconds,
            _serving: serving,
        })
    }

    /// From now on, answers are so late.
    pub(super) fn set(&self, lag: Duration) {
        let milliseconds = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
        self.milliseconds.store(milliseconds, Ordering::Relaxed);
    }
}

async fn carry(client: UnixStream, behind: PathBuf, lag: Arc<AtomicU64>) -> std::io::Result<()> {
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = UnixStream::connect(behind).await?.into_split();
    tokio::select! {
        copied = copy(&mut from_client, &mut to_server) => copied.map(drop),
        carried = carry_late(from_server, to_client, &lag) => carried,
    }
}

async fn carry_late(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, lag: &AtomicU64) -> std::io::Result<()> {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(64);
    let read = async move {
        let mut buffer = vec![0; 16 * 1_024];
        loop {
            let length = from.read(&mut buffer).await?;
            let due = Instant::now() + Duration::from_millis(lag.load(Ordering::Relaxed));
            let bytes = buffer.get(..length).unwrap_or_default().to_vec();
            if length == 0 || sender.send((due, bytes)).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = receiver.recv().await {
            sleep_until(due).await;
            to.write_all(&bytes).await?;
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(drop)
}

/// One address, and behind it several gateways in turn: what a client sees of a process whose workers keep key sets of their
/// own.
#[derive(Debug)]
pub(super) struct Turns {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Turns {
    /// Listens, and hands each connection to the next gateway.
    pub(super) async fn start(gateways: Vec<SocketAddr>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let (turn, mut connections) = (AtomicUsize::new(0), JoinSet::new());
            while let Ok((mut client, _)) = listener.accept().await {
                let next = turn.fetch_add(1, Ordering::Relaxed) % gateways.len().max(1);
                let Some(gateway) = gateways.get(next).copied() else {
                    return;
                };
                connections.spawn(async move {
                    let mut server = TcpStream::connect(gateway).await?;
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        Ok(Self {
            address,
            _serving: serving,
        })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}
