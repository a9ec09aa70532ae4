//! What the HTTP/2 library does not look at or tell: frames that come too often or in the wrong size, and answers that it
//! gives by itself.
//!
//! Only the first nine bytes of frames are read, and the payload of three short kinds that the library writes.

use bytes::{BufMut as _, BytesMut};
use tokio::time::Instant;

/// Length of the preface (RFC 9113 §3.4), which the library reads.
const PREFACE: usize = 24;
/// Length of a frame's head (RFC 9113 §4.1).
const HEAD: usize = 9;
/// Shorter than any list of fields of ours, which has a date and a request id: an answer of the library itself.
const BARE_ANSWER: usize = 16;

/// Frames without a request or data in them that may come at once.
const CONTROL_BURST: u32 = 1_024;
/// How many of them come back each second.
const CONTROL_PER_SECOND: u128 = 256;
/// A client moves its windows for what it was sent.
const CREDIT_PER_DATA: u32 = 2;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Why a connection ends (RFC 9113 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Protocol,
    FrameSize,
    EnhanceYourCalm,
}

impl Code {
    const fn number(self) -> u8 {
        match self {
            Self::Protocol => 1,
            Self::FrameSize => 6,
            Self::EnhanceYourCalm => 11,
        }
    }

    /// The word for the log.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Protocol => "PROTOCOL_ERROR",
            Self::FrameSize => "FRAME_SIZE_ERROR",
            Self::EnhanceYourCalm => "ENHANCE_YOUR_CALM",
        }
    }
}

/// What the library said by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// A bare answer; whether the list of fields was too large, or else the request malformed.
    Answer { is_too_large: bool },
    /// It reset a stream, or ended the connection: the name of the code.
    Error(&'static str),
}

/// The head of a frame.
#[derive(Debug, Clone, Copy)]
struct FrameHead {
    length: usize,
    kind: u8,
    flags: u8,
}

impl FrameHead {
    fn read(bytes: [u8; HEAD]) -> Self {
        let [high, middle, low, kind, flags, ..] = bytes;
        Self {
            length: usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low),
            kind,
            flags,
        }
    }
}

/// The frames of both directions of one connection.
#[derive(Debug)]
pub(super) struct Frames {
    incoming: Incoming,
    outgoing: Outgoing,
}

#[derive(Debug)]
struct Incoming {
    head: [u8; HEAD],
    have: usize,
    /// Bytes to pass over: the preface, then payloads.
    skip: usize,
    has_settings: bool,
    /// Whether a list of fields has begun and not ended, and whether it ends with the frame at hand.
    in_head: bool,
    ends_head: bool,
    allowance: u32,
    since: Instant,
}

#[derive(Debug, Default)]
struct Outgoing {
    /// A frame's head, and its payload when that is looked at.
    held: Vec<u8>,
    skip: usize,
    credit: u32,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            incoming: Incoming {
                head: [0; HEAD],
                have: 0,
                skip: PREFACE,
                has_settings: false,
                in_head: false,
                ends_head: false,
                allowance: CONTROL_BURST,
                since: Instant::now(),
            },
            outgoing: Outgoing::default(),
        }
    }

    /// Looks at bytes of the client.
    ///
    /// # Errors
    /// The code with which the connection must end.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<(), Code> {
        let credit = std::mem::take(&mut self.outgoing.credit);
        let incoming = &mut self.incoming;
        incoming.allowance = incoming.allowance.saturating_add(credit).min(CONTROL_BURST);
        let mut rest = bytes;
        while !rest.is_empty() {
            let skipped = incoming.skip.min(rest.len());
            incoming.skip = incoming.skip.saturating_sub(skipped);
            rest = rest.get(skipped..).unwrap_or_default();
            incoming.end_head();
            let wanted = HEAD.saturating_sub(incoming.have).min(rest.len());
            let (now, behind) = rest.split_at_checked(wanted).unwrap_or_default();
            for byte in now {
                if let Some(place) = incoming.head.get_mut(incoming.have) {
                    *place = *byte;
                }
                incoming.have = incoming.have.saturating_add(1);
            }
            rest = behind;
            if incoming.have == HEAD {
                incoming.have = 0;
                let head = FrameHead::read(incoming.head);
                incoming.skip = head.length;
                incoming.check(head)?;
                incoming.end_head();
            }
        }
        Ok(())
    }

    /// Whether the head of a request has begun and not ended.
    pub(super) const fn is_in_head(&self) -> bool {
        self.incoming.in_head
    }

    /// Hands bytes of the library on to `out`. What it says by itself is told to `said`, which gives what to add to a bare
    /// answer.
    pub(super) fn send(&mut self, bytes: &[u8], out: &mut BytesMut, mut said: impl FnMut(Said) -> Vec<u8>) {
        let outgoing = &mut self.outgoing;
        let mut rest = bytes;
        while !rest.is_empty() {
            if outgoing.skip > 0 {
                let (now, behind) = rest
                    .split_at_checked(outgoing.skip.min(rest.len()))
                    .unwrap_or_default();
                out.extend_from_slice(now);
                outgoing.skip = outgoing.skip.saturating_sub(now.len());
                rest = behind;
                continue;
            }
            let wanted = outgoing.wanted().saturating_sub(outgoing.held.len());
            let (now, behind) = rest.split_at_checked(wanted.min(rest.len())).unwrap_or_default();
            outgoing.held.extend_from_slice(now);
            rest = behind;
            outgoing.let_go(out, &mut said);
        }
    }

    /// The last frame of the connection, when nothing stands half-written before it.
    pub(super) fn goaway(&self, code: Code, out: &mut BytesMut) {
        if self.outgoing.skip == 0 && self.outgoing.held.is_empty() {
            out.put_slice(&[0, 0, 8, GOAWAY, 0, 0, 0, 0, 0]);
            out.put_slice(&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, code.number()]);
        }
    }
}

impl Incoming {
    fn end_head(&mut self) {
        if self.skip == 0 && self.ends_head {
            (self.in_head, self.ends_head) = (false, false);
        }
    }

    fn check(&mut self, head: FrameHead) -> Result<(), Code> {
        let is_ack = head.flags & 1 != 0;
        if !self.has_settings {
            // RFC 9113 §3.4: the library would serve requests before it has heard the settings.
            if head.kind != SETTINGS || is_ack {
                return Err(Code::Protocol);
            }
            self.has_settings = true;
        }
        let fits = match head.kind {
            PRIORITY => head.length == 5,
            RST_STREAM | WINDOW_UPDATE => head.length == 4,
            SETTINGS if is_ack => head.length == 0,
            SETTINGS => head.length.is_multiple_of(6),
            PING => head.length == 8,
            GOAWAY => head.length >= 8,
            _ => true,
        };
        if !fits {
            return Err(Code::FrameSize);
        }
        if matches!(head.kind, HEADERS | CONTINUATION) {
            (self.in_head, self.ends_head) = (true, head.flags & END_HEADERS != 0);
        }
        let is_control = match head.kind {
            DATA => head.length == 0 && !is_ack,
            HEADERS => false,
            _ => true,
        };
        if is_control { self.charge() } else { Ok(()) }
    }

    /// Frames that ask for nothing cost us and not the client: rapid resets, and floods of PING, SETTINGS and the like.
    fn charge(&mut self) -> Result<(), Code> {
        if self.allowance == 0 {
            let back = self
                .since
                .elapsed()
                .as_millis()
                .saturating_mul(CONTROL_PER_SECOND)
                / 1_000;
            self.allowance = u32::try_from(back).unwrap_or(CONTROL_BURST).min(CONTROL_BURST);
            self.since = Instant::now();
        }
        self.allowance = self.allowance.checked_sub(1).ok_or(Code::EnhanceYourCalm)?;
        Ok(())
    }
}

impl Outgoing {
    fn head(&self) -> Option<FrameHead> {
        self.held.first_chunk::<HEAD>().map(|head| FrameHead::read(*head))
    }

    /// How many bytes of the frame at hand are looked at.
    fn wanted(&self) -> usize {
        match self.head() {
            Some(head) if head.is_looked_at() => HEAD.saturating_add(head.length),
            _ => HEAD,
        }
    }

    fn let_go(&mut self, out: &mut BytesMut, said: &mut impl FnMut(Said) -> Vec<u8>) {
        let Some(head) = self.head() else { return };
        if !head.is_looked_at() {
            self.skip = head.length;
            if head.kind == DATA {
                self.credit = self.credit.saturating_add(CREDIT_PER_DATA);
            }
        } else if self.held.len() < HEAD.saturating_add(head.length) {
            return;
        } else if let Some(what) = spoken(head, self.held.get(HEAD..).unwrap_or_default()) {
            let more = said(what);
            if let (Said::Answer { .. }, Ok(length)) =
                (what, u16::try_from(head.length.saturating_add(more.len())))
            {
                let [high, low] = length.to_be_bytes();
                out.put_slice(&[0, high, low]);
                out.extend_from_slice(self.held.get(3..).unwrap_or_default());
                out.extend_from_slice(&more);
                self.held.clear();
                return;
            }
        }
        out.extend_from_slice(&self.held);
        self.held.clear();
    }
}

impl FrameHead {
    const fn is_looked_at(self) -> bool {
        match self.kind {
            HEADERS => self.length < BARE_ANSWER,
            RST_STREAM => true,
            GOAWAY => self.length < 256,
            _ => false,
        }
    }
}

/// What a frame of the library means, if it says more than that a stream is over.
fn spoken(head: FrameHead, payload: &[u8]) -> Option<Said> {
    /// `:status: 400` of the static table (RFC 7541 appendix A).
    const BAD_REQUEST: &[u8] = &[0x8c];
    match head.kind {
        HEADERS => Some(Said::Answer {
            is_too_large: payload != BAD_REQUEST,
        }),
        RST_STREAM => name(payload.get(3)?).map(Said::Error),
        _ => name(payload.get(7)?).map(Said::Error),
    }
}

/// Codes that blame the client. Streams are reset for other reasons all the time, and refused when there are too many.
const fn name(code: &u8) -> Option<&'static str> {
    match *code {
        1 => Some("PROTOCOL_ERROR"),
        3 => Some("FLOW_CONTROL_ERROR"),
        5 => Some("STREAM_CLOSED"),
        6 => Some("FRAME_SIZE_ERROR"),
        9 => Some("COMPRESSION_ERROR"),
        11 => Some("ENHANCE_YOUR_CALM"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, 1][..], payload].concat()
    }

    fn opened() -> Frames {
        let mut frames = Frames::new();
        frames
            .receive(&[&[b'P'; PREFACE][..], &frame(SETTINGS, 0, &[])].concat())
            .unwrap();
        frames
    }

    #[test]
    fn frames_that_ask_for_nothing_are_bounded() {
        for (kind, length) in [
            (PING, 8),
            (SETTINGS, 0),
            (RST_STREAM, 4),
            (WINDOW_UPDATE, 4),
            (9, 0),
            (DATA, 0),
        ] {
            let mut frames = opened();
            let flood = frame(kind, 0, &vec![0; length]);
            let sent = (0..100_000).find(|_| frames.receive(&flood) == Err(Code::EnhanceYourCalm));
            assert!(sent.is_some_and(|sent| sent >= 1_000), "{kind}: {sent:?}");
        }
        let mut frames = opened();
        for _ in 0..100_000 {
            assert_eq!(frames.receive(&frame(DATA, 0, b"a")), Ok(()));
        }
    }

    #[test]
    fn a_client_that_takes_data_may_move_its_windows() {
        let mut frames = opened();
        let mut out = BytesMut::new();
        for _ in 0..10_000 {
            frames.send(&frame(DATA, 0, b"a"), &mut out, |_| panic!("nothing was said"));
            assert_eq!(
                frames.receive(&frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]).repeat(2)),
                Ok(())
            );
            out.clear();
        }
    }

    #[test]
    fn a_head_lasts_from_its_first_byte_to_its_last() {
        let (open, end) = (
            frame(HEADERS, 1, &[1; 9]),
            frame(CONTINUATION, END_HEADERS, &[1; 9]),
        );
        let bytes = [open.as_slice(), &end].concat();
        let mut frames = opened();
        for (place, byte) in bytes.iter().enumerate() {
            // It is known to be one when the head of its first frame is there.
            assert_eq!(frames.is_in_head(), place >= HEAD, "{place}");
            frames.receive(&[*byte]).unwrap();
        }
        assert!(!frames.is_in_head());
        frames.receive(&frame(HEADERS, END_HEADERS, &[])).unwrap();
        assert!(!frames.is_in_head(), "an empty one is over at once");
        frames
            .receive(&[&bytes[..], &frame(DATA, 0, b"a")].concat())
            .unwrap();
        assert!(!frames.is_in_head());
    }

    #[test]
    fn fr11_settings_come_first_and_sizes_are_right() {
        let first = |bytes: Vec<u8>| Frames::new().receive(&[&[b'P'; PREFACE][..], &bytes].concat());
        assert_eq!(first(frame(PING, 0, &[0; 8])), Err(Code::Protocol));
        assert_eq!(first(frame(SETTINGS, 1, &[])), Err(Code::Protocol));
        for (kind, flags, length) in [
            (PING, 0, 6),
            (SETTINGS, 0, 5),
            (SETTINGS, 1, 6),
            (PRIORITY, 0, 4),
            (RST_STREAM, 0, 3),
        ] {
            let sent = opened().receive(&frame(kind, flags, &vec![0; length]));
            assert_eq!(sent, Err(Code::FrameSize), "{kind}");
        }
    }

    proptest! {
        /// However the library's bytes are cut, they leave as they came, but for a bare answer, which gets more.
        #[test]
        fn what_leaves_is_what_came(cuts in prop::collection::vec(1_usize..12, 1..60)) {
            let bytes = [
                frame(SETTINGS, 1, &[]),
                frame(HEADERS, 4, &[1; 40]),
                frame(DATA, 1, b"body"),
                frame(HEADERS, 5, &[0x8c]),
                frame(RST_STREAM, 0, &[0, 0, 0, 1]),
                frame(GOAWAY, 0, &[0; 8]),
            ];
            let expected = [&bytes[..3].concat()[..], &frame(HEADERS, 5, &[0x8c, 7, 7]), &bytes[4..].concat()].concat();
            let (mut frames, mut out, mut said) = (Frames::new(), BytesMut::new(), Vec::new());
            let mut rest = bytes.concat();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let part: Vec<u8> = rest.drain(..cut.min(rest.len())).collect();
                frames.send(&part, &mut out, |what| { said.push(what); vec![7, 7] });
            }
            prop_assert_eq!(&out[..], expected.as_slice());
            prop_assert_eq!(said, [Said::Answer { is_too_large: false }, Said::Error("PROTOCOL_ERROR")]);
        }
    }
}
