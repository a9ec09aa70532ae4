//! HTTP/2 frame by frame (RFC 9113): what clients must not send, and what a server must answer.
//!
//! The numbers are those of h2spec where it has the case.

mod cases;
mod conversation;
pub mod frame;
mod requests;

pub use conversation::{Ending, Event, take_frame};

/// Frames, and what is right to do with them.
#[derive(Debug, Clone)]
pub struct Case {
    /// Section of RFC 9113, and h2spec's number in it: `6.5.2-1`.
    pub section: &'static str,
    /// What it is, in words.
    pub name: &'static str,
    /// What is sent behind the preface and empty settings, or instead of them.
    pub bytes: Vec<u8>,
    /// Whether `bytes` come instead of preface and settings.
    pub is_bare: bool,
    /// What is right.
    pub expected: Expected,
}

/// What is right to do with frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The connection ends, with one of these codes when a GOAWAY comes before.
    ConnectionError(&'static [u32]),
    /// The stream is reset with one of these codes, or answered with 4xx (§8.1.1), or the connection ends.
    StreamError(&'static [u32]),
    /// Answered with one of these statuses.
    Answered(&'static [u16]),
    /// Legal: the connection lives on.
    Tolerated,
}

impl Expected {
    /// Whether this is what was expected.
    #[must_use]
    pub fn is_met_by(self, ending: &Ending) -> bool {
        let closed = |codes: &[u32]| match ending.goaway {
            Some(code) => codes.contains(&code),
            None => ending.closed,
        };
        match self {
            Self::ConnectionError(codes) => closed(codes),
            Self::StreamError(codes) => {
                let reset = ending.reset.is_some_and(|code| codes.contains(&code));
                let refused = ending.status.is_some_and(|status| (400..500).contains(&status));
                reset || refused || (ending.status.is_none() && closed(codes))
            }
            Self::Answered(statuses) => ending.status.is_some_and(|status| statuses.contains(&status)),
            Self::Tolerated => ending.ponged && ending.goaway.is_none(),
        }
    }
}

/// Every case, in the order of the sections.
#[must_use]
pub fn cases() -> Vec<Case> {
    [cases::connection(), cases::frames(), requests::cases()].concat()
}
