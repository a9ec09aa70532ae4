//! Frames to a server, and the frames that come back.

use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::frame::{self, flag, kind};
use super::{Case, Expected};
use crate::Server;

/// A frame that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// How a conversation ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ending {
    /// The code of the GOAWAY.
    pub goaway: Option<u32>,
    /// The code of the last RST_STREAM.
    pub reset: Option<u32>,
    /// The status of the last answer.
    pub status: Option<u16>,
    /// Whether the PING behind the frames was answered.
    pub ponged: bool,
    /// Whether the server closed.
    pub closed: bool,
    /// All that came back.
    pub events: Vec<Event>,
}

/// What is in the PING behind the frames.
const PING: &[u8; 8] = b"portico!";

impl Server {
    /// Sends the frames of a case and a PING, and reads until it can be told whether the expectation is met.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn converse(&self, case: &Case, deadline: Duration) -> anyhow::Result<Ending> {
        let mut stream = self.connect().await?;
        let mut bytes = Vec::new();
        if !case.is_bare {
            bytes.extend_from_slice(frame::PREFACE);
            bytes.extend(frame::frame(kind::SETTINGS, 0, 0, &[]));
        }
        bytes.extend_from_slice(&case.bytes);
        if !case.is_bare {
            bytes.extend(frame::frame(kind::PING, 0, 0, PING));
        }
        let mut ending = Ending::default();
        let talk = async {
            // A server may close in the middle of it.
            if stream.write_all(&bytes).await.is_ok() {
                let _ = stream.flush().await;
            }
            let mut buffer = Vec::new();
            while !is_over(case.expected, &ending) {
                match take_frame(&mut buffer) {
                    Some(event) => ending.note(event),
                    None if matches!(stream.read_buf(&mut buffer).await, Ok(count) if count > 0) => {}
                    None => {
                        ending.closed = true;
                        return;
                    }
                }
            }
        };
        let _ = timeout(deadline, talk).await;
        Ok(ending)
    }
}

/// Nothing that comes later can change the judgement.
fn is_over(expected: Expected, ending: &Ending) -> bool {
    match expected {
        // Behind a GOAWAY the connection closes: it is waited for.
        Expected::ConnectionError(_) => ending.closed,
        Expected::StreamError(_) => ending.reset.is_some() || ending.status.is_some() || ending.closed,
        Expected::Answered(_) => ending.status.is_some() || ending.goaway.is_some(),
        Expected::Tolerated => ending.ponged || ending.goaway.is_some(),
    }
}

impl Ending {
    fn note(&mut self, event: Event) {
        let word = |at: usize| -> Option<u32> {
            let bytes = event.payload.get(at..at.checked_add(4)?)?;
            Some(u32::from_be_bytes(bytes.try_into().ok()?))
        };
        match event.kind {
            kind::GOAWAY => self.goaway = word(4).or(self.goaway),
            kind::RST_STREAM => self.reset = word(0).or(self.reset),
            kind::HEADERS => self.status = frame::status(&event.payload).or(Some(0)),
            kind::PING => self.ponged |= event.flags & flag::ACK != 0 && event.payload == PING,
            _ => {}
        }
        self.events.push(event);
    }
}

/// The first frame, once it is whole.
#[must_use]
pub fn take_frame(buffer: &mut Vec<u8>) -> Option<Event> {
    let (head, rest) = buffer.split_first_chunk::<9>()?;
    let [high, middle, low, kind, flags, stream @ ..] = *head;
    let length = usize::try_from(u32::from_be_bytes([0, high, middle, low])).ok()?;
    let payload = rest.get(..length)?.to_vec();
    buffer.drain(..length.checked_add(9)?);
    Some(Event {
        kind,
        flags,
        stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        payload,
    })
}

impl Event {
    /// A list of strings in it, as far as they are in clear: to look for field names.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        self.payload
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    }
}

impl Server {
    /// Opens a connection for frames that a test sends one by one.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn open(&self) -> anyhow::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
        let mut stream = self.connect().await?;
        let bytes = [frame::PREFACE, &frame::frame(kind::SETTINGS, 0, 0, &[])].concat();
        stream.write_all(&bytes).await.context("the preface")?;
        Ok(stream)
    }
}
