//! An open WebSocket: bytes go through as they are, and it ends with a close frame.

use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use pingora::Result;
use pingora::proxy::Session;
use policy::WebSocket;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::frames::{self, Fault, Frames, Side};
use crate::upstreams::Io;

/// Bytes that are read from the upstream at a time.
const READ: usize = 16 * 1024;
/// How long a side may take to end the frame that it is in the middle of.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a socket has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client closed it, or was lost.
    Client,
    /// The upstream did.
    Upstream,
    /// The token that opened it has expired.
    Expired,
    /// The token that opened it was revoked.
    Revoked,
    /// There are no keys any more that could say whether the token is good.
    NoKeys,
    /// Nobody has said for too long what is revoked.
    StaleRevocations,
    /// The address of the client was blocked.
    Blocked,
    /// The client certificate that opened it is good no longer.
    Uncertified,
    /// Nothing was sent for too long.
    Idle,
    /// A frame was larger than the policy allows.
    TooLarge,
    /// A frame was none that the protocol allows here.
    Malformed,
    /// The gateway stops.
    Stopping,
    /// Another process of the gateway serves, and the time for this one is over.
    Replaced,
}

impl End {
    /// The word for the access log.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "closed_by_client",
            Self::Upstream => "closed_by_upstream",
            Self::Expired => "token_expired",
            Self::Revoked => "token_revoked",
            Self::NoKeys => "no_keys",
            Self::StaleRevocations => "stale_revocations",
            Self::Blocked => "address_blocked",
            Self::Uncertified => "client_certificate",
            Self::Idle => "idle",
            Self::TooLarge => "frame_too_large",
            Self::Malformed => "frame_malformed",
            Self::Stopping => "stopping",
            Self::Replaced => "replaced",
        }
    }

    /// What both sides are told (RFC 6455 §7.4.1); nothing when one of them ended it.
    const fn close(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Client | Self::Upstream => None,
            Self::Expired => Some((1008, "the token has expired")),
            Self::Revoked => Some((1008, "the token was revoked")),
            // Try Again Later, in the IANA registry.
            Self::NoKeys | Self::StaleRevocations => {
                Some((1013, "whether the token is good cannot be known now"))
            }
            Self::Blocked => Some((1008, "nothing is taken from this address")),
            Self::Uncertified => Some((1008, "the client certificate is good no longer")),
            Self::Idle => Some((1001, "idle")),
            Self::TooLarge => Some((1009, "the frame is too large")),
            Self::Malformed => Some((1002, "the frame is malformed")),
            Self::Stopping => Some((1001, "going away")),
            // Service Restart, in the IANA registry: the client may come back at once.
            Self::Replaced => Some((1012, "connect again")),
        }
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::TooLarge => Self::TooLarge,
            Fault::Malformed => Self::Malformed,
        }
    }
}

/// What is still to be done towards the upstream, which may take nothing for as long as it likes. Each step can be left
/// for something more urgent, and begun again.
#[derive(Default)]
struct Outgoing {
    /// Read from the client, and not yet sent.
    bytes: Bytes,
    wants_flush: bool,
    /// The client has said everything.
    wants_shutdown: bool,
}

impl Outgoing {
    const fn is_done(&self) -> bool {
        self.bytes.is_empty() && !self.wants_flush && !self.wants_shutdown
    }

    /// # Errors
    /// When the upstream takes no bytes any more.
    async fn step(&mut self, writer: &mut WriteHalf<Box<dyn Io>>) -> io::Result<()> {
        if !self.bytes.is_empty() {
            let count = writer.write(&self.bytes).await?;
            self.bytes.advance(count);
            self.wants_flush = true;
        } else if self.wants_flush {
            // Fails when the upstream is gone, which reading from it tells; so does the other one.
            drop(writer.flush().await);
            self.wants_flush = false;
        } else {
            drop(writer.shutdown().await);
            self.wants_shutdown = false;
        }
        Ok(())
    }
}

/// What has gone through.
pub(super) struct Tunnel {
    idle: Duration,
    from_client: Frames,
    from_upstream: Frames,
    outgoing: Outgoing,
    is_client_open: bool,
    /// Set when the gateway ends the socket, as soon as no frame is cut by that.
    ending: Option<End>,
}

fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

impl Tunnel {
    /// With extensions, reserved bits are theirs (RFC 6455 §5.2).
    pub(super) fn new(websocket: WebSocket, is_extended: bool) -> Self {
        Self {
            idle: websocket.idle_timeout,
            from_client: Frames::new(Side::Client, websocket.max_frame, is_extended),
            from_upstream: Frames::new(Side::Upstream, websocket.max_frame, is_extended),
            outgoing: Outgoing::default(),
            is_client_open: true,
            ending: None,
        }
    }

    /// Carries bytes in both directions until the socket ends; `right_ends` ends it too.
    ///
    /// # Errors
    /// When the client cannot be written to.
    pub(super) async fn run(
        mut self,
        session: &mut Session,
        socket: Box<dyn Io>,
        right_ends: impl Future<Output = End>,
    ) -> Result<End> {
        session.set_read_timeout(None);
        let (mut reader, mut writer) = split(socket);
        let mut buffer = BytesMut::with_capacity(READ);
        let timer = sleep_until(after(self.idle));
        tokio::pin!(timer, right_ends);
        let end = loop {
            if let Some(end) = self.ending.filter(|_| self.from_upstream.is_at_boundary()) {
                break end;
            }
            tokio::select! {
                biased;
                end = &mut right_ends, if self.ending.is_none() => {
                    self.ending = Some(end);
                    timer.as_mut().reset(after(FAREWELL));
                }
                () = &mut timer => match self.ending {
                    // In the middle of a frame there is nothing more to say.
                    Some(end) => return Ok(end),
                    None => {
                        self.ending = Some(End::Idle);
                        timer.as_mut().reset(after(FAREWELL));
                    }
                },
                sent = self.outgoing.step(&mut writer), if !self.outgoing.is_done() => {
                    if sent.is_err() {
                        break End::Upstream;
                    }
                }
                read = session.read_request_body(), if self.reads_client() => {
                    self.take_from_client(read.ok().flatten());
                    timer.as_mut().reset(after(self.patience()));
                }
                read = reader.read_buf(&mut buffer) => {
                    if !matches!(read, Ok(count) if count > 0) {
                        break if self.is_client_open { End::Upstream } else { End::Client };
                    }
                    let was_ending = self.ending.is_some();
                    if let Some(bytes) = self.take_from_upstream(&mut buffer)
                        && let Some(end) = self.give(session, bytes, right_ends.as_mut(), timer.as_mut()).await?
                    {
                        if let Some((code, reason)) = end.close() {
                            self.say_goodbye(writer, code, reason).await;
                        }
                        return Ok(end);
                    }
                    if !was_ending {
                        timer.as_mut().reset(after(self.patience()));
                    }
                }
            }
        };
        if let Some((code, reason)) = end.close() {
            self.say_goodbye(writer, code, reason).await;
            let farewell = Bytes::from(frames::close(code, reason, None));
            // One that does not listen any more is dropped.
            let told = timeout(FAREWELL, session.write_response_body(Some(farewell), false)).await;
            told.unwrap_or(Ok(()))?;
        }
        drop::<ReadHalf<_>>(reader);
        Ok(end)
    }

    /// Writes to the client. How the socket ends, when the client does not take it in time then: it is in the middle of a
    /// frame, and hears no more.
    async fn give(
        &mut self,
        session: &mut Session,
        bytes: Bytes,
        mut right_ends: Pin<&mut impl Future<Output = End>>,
        mut timer: Pin<&mut Sleep>,
    ) -> Result<Option<End>> {
        let mut writing = pin!(session.write_response_body(Some(bytes), false));
        loop {
            tokio::select! {
                biased;
                written = &mut writing => return written.map(|()| None),
                end = &mut right_ends, if self.ending.is_none() => {
                    self.ending = Some(end);
                    timer.as_mut().reset(after(FAREWELL));
                }
                () = &mut timer, if self.ending.is_some() => return Ok(self.ending),
            }
        }
    }

    /// How long nothing may come.
    const fn patience(&self) -> Duration {
        match self.ending {
            None => self.idle,
            Some(_) => FAREWELL,
        }
    }

    const fn reads_client(&self) -> bool {
        self.is_client_open && self.outgoing.is_done() && self.ending.is_none()
    }

    fn take_from_client(&mut self, read: Option<Bytes>) {
        let Some(bytes) = read else {
            // Half of it is closed: what the upstream still says goes through.
            self.is_client_open = false;
            self.outgoing.wants_shutdown = true;
            return;
        };
        match self.from_client.advance_whole(&bytes) {
            Ok(()) => self.outgoing.bytes = bytes,
            Err(fault) => self.ending = Some(fault.into()),
        }
    }

    /// What goes to the client: everything, or only the rest of a frame when the socket ends.
    fn take_from_upstream(&mut self, buffer: &mut BytesMut) -> Option<Bytes> {
        let bytes = buffer.split().freeze();
        buffer.reserve(READ);
        if self.ending.is_some() {
            let rest = self.from_upstream.finish(&bytes).unwrap_or(0);
            return Some(bytes.slice(..rest.min(bytes.len())));
        }
        if let Err(fault) = self.from_upstream.advance_whole(&bytes) {
            self.ending = Some(fault.into());
            return None;
        }
        Some(bytes)
    }

    /// Tells the upstream, unless that would stand inside of a frame of the client.
    async fn say_goodbye(&self, mut writer: WriteHalf<Box<dyn Io>>, code: u16, reason: &str) {
        let mut mask = [0; 4];
        if aws_lc_rs::rand::fill(&mut mask).is_err() {
            return;
        }
        let goodbye = frames::close(code, reason, Some(mask));
        let saying = async {
            if self.outgoing.bytes.is_empty() && self.from_client.is_at_boundary() {
                writer.write_all(&goodbye).await?;
            }
            writer.shutdown().await
        };
        // One that does not listen any more is dropped.
        let _ = timeout(FAREWELL, saying).await;
    }
}
