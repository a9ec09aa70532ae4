//! WebSockets that stay open, say something every second, and count how they end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{bail, ensure};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use super::client::{Door, WebSocket};

const SAY_EVERY: Duration = Duration::from_secs(1);
const ECHO_WITHIN: Duration = Duration::from_secs(30);

/// Open WebSockets; one that is closed in order is opened again.
#[derive(Debug)]
pub struct Sockets {
    stop: CancellationToken,
    clients: JoinSet<SocketTally>,
}

/// What became of the sockets.
#[derive(Debug, Default)]
pub struct SocketTally {
    /// Sockets that were opened, again included.
    pub opened: usize,
    /// Texts that came back.
    pub echoed: usize,
    /// Sockets that the gateway closed with a close frame, by its code.
    pub closed: BTreeMap<u16, usize>,
    /// Sockets that were cut, or could not be opened, by reason.
    pub failed: BTreeMap<String, usize>,
}

impl Sockets {
    /// Opens so many, and waits until all are.
    pub async fn open(door: &Door, path: &str, count: usize) -> Self {
        let stop = CancellationToken::new();
        let (ready, mut are_open) = tokio::sync::mpsc::channel::<()>(1);
        let mut clients = JoinSet::new();
        for turn in 0..count {
            let client = Client {
                door: door.clone(),
                path: path.to_owned(),
                turn,
                tally: SocketTally::default(),
            };
            clients.spawn(client.run(stop.clone(), Some(ready.clone())));
        }
        drop(ready);
        // Ends when every client has dropped its end.
        are_open.recv().await;
        Self { stop, clients }
    }

    /// Ends them.
    pub async fn stop(mut self) -> SocketTally {
        self.stop.cancel();
        let mut all = SocketTally::default();
        while let Some(Ok(tally)) = self.clients.join_next().await {
            all.opened += tally.opened;
            all.echoed += tally.echoed;
            for (code, count) in tally.closed {
                *all.closed.entry(code).or_default() += count;
            }
            for (reason, count) in tally.failed {
                *all.failed.entry(reason).or_default() += count;
            }
        }
        all
    }
}

struct Client {
    door: Door,
    path: String,
    turn: usize,
    tally: SocketTally,
}

impl Client {
    async fn run(
        mut self,
        stop: CancellationToken,
        mut ready: Option<tokio::sync::mpsc::Sender<()>>,
    ) -> SocketTally {
        let mut ticks = interval(SAY_EVERY);
        while !stop.is_cancelled() {
            ticks.tick().await;
            match self.open().await {
                Ok(socket) => {
                    drop(ready.take());
                    if let Err(error) = self.talk(socket, &mut ticks, &stop).await {
                        self.fail(&error);
                    }
                }
                Err(error) => self.fail(&error),
            }
        }
        self.tally
    }

    fn fail(&mut self, error: &anyhow::Error) {
        *self.tally.failed.entry(format!("{error:#}")).or_default() += 1;
    }

    async fn open(&mut self) -> anyhow::Result<WebSocket> {
        self.turn += 1;
        let connection = self.door.connect(self.turn).await?;
        let socket = connection.upgrade(&self.path).await?;
        self.tally.opened += 1;
        Ok(socket)
    }

    /// Until the gateway closes it in order, or the drill is over.
    async fn talk(
        &mut self,
        mut socket: WebSocket,
        ticks: &mut tokio::time::Interval,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            let closed = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                frame = socket.receive() => Some(frame?),
                _ = ticks.tick() => None,
            };
            let frame = match closed {
                Some(frame) => frame,
                None => {
                    // The close frame may be on its way already: then this is written to nobody.
                    drop(socket.send("still there").await);
                    timeout(ECHO_WITHIN, socket.receive()).await??
                }
            };
            match frame {
                (1, text) => {
                    ensure!(text == b"still there", "another text came back");
                    self.tally.echoed += 1;
                }
                (8, payload) => {
                    let code = payload
                        .first_chunk()
                        .map_or(1_005, |code| u16::from_be_bytes(*code));
                    *self.tally.closed.entry(code).or_default() += 1;
                    return Ok(());
                }
                (opcode, _) => bail!("a frame of opcode {opcode}"),
            }
        }
    }
}

impl SocketTally {
    /// Sockets that were cut, or could not be opened.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.failed.values().sum()
    }
}

impl fmt::Display for SocketTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sockets opened, {} texts echoed, {} cut; closed in order:",
            self.opened,
            self.echoed,
            self.failures()
        )?;
        if self.closed.is_empty() {
            write!(f, " none")?;
        }
        for (code, count) in &self.closed {
            write!(f, " {count} × {code}")?;
        }
        for (reason, count) in &self.failed {
            write!(f, "\n    {count} × {reason}")?;
        }
        Ok(())
    }
}
