//! The heads of WebSocket frames (RFC 6455 §5.2): where a frame ends, and whether it is one that may come. What is in it
//! is not read, and reserved bits are left to extensions, where both sides have agreed on any.

/// Who sends frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Masks every frame (§5.1): what a page sends must not look like a request to anything on the way.
    Client,
    /// Masks none.
    Upstream,
}

/// Follows the frames of one direction.
#[derive(Debug, Clone)]
pub(super) struct Frames {
    side: Side,
    most: u64,
    /// Whether reserved bits may be set.
    is_extended: bool,
    /// Whether a message has begun and not ended.
    in_message: bool,
    /// Whether this side has said that it closes.
    is_closed: bool,
    /// Bytes of the header that is being read: two, the rest of the length, the mask.
    header: [u8; 14],
    read: usize,
    payload_left: u64,
}

/// Why a frame may not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is larger than the policy allows, or than the protocol does.
    TooLarge,
    /// Its head is not one of the protocol, or not here.
    Malformed,
}

impl Frames {
    pub(super) const fn new(side: Side, most: u64, is_extended: bool) -> Self {
        Self {
            side,
            most,
            is_extended,
            in_message: false,
            is_closed: false,
            header: [0; 14],
            read: 0,
            payload_left: 0,
        }
    }

    /// Whether a frame of our own may stand here.
    pub(super) const fn is_at_boundary(&self) -> bool {
        self.read == 0 && self.payload_left == 0
    }

    /// Follows these bytes to their end.
    ///
    /// # Errors
    /// When a frame may not come.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.step(rest)?;
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Follows these bytes to their end, or not at all: what is refused is not passed on, so it counts as never seen.
    ///
    /// # Errors
    /// When a frame may not come.
    pub(super) fn advance_whole(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut ahead = self.clone();
        ahead.advance(bytes)?;
        *self = ahead;
        Ok(())
    }

    /// Follows these bytes to the end of the frame at hand; how many belong to it.
    ///
    /// # Errors
    /// When the frame may not come.
    pub(super) fn finish(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut taken = 0_usize;
        while !self.is_at_boundary() {
            let rest = bytes.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            taken = taken.saturating_add(self.step(rest)?);
        }
        Ok(taken)
    }

    /// One byte of a header, or what is there of a payload; how many bytes that were.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        if self.payload_left > 0 {
            let there = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let taken = there.min(self.payload_left);
            self.payload_left = self.payload_left.saturating_sub(taken);
            return Ok(usize::try_from(taken).unwrap_or(bytes.len()));
        }
        if let (Some(slot), Some(byte)) = (self.header.get_mut(self.read), bytes.first()) {
            *slot = *byte;
        }
        self.read = self.read.saturating_add(1);
        if self.read == self.header_length() {
            self.payload_left = self.payload_length();
            self.read = 0;
            self.check()?;
        }
        Ok(1)
    }

    /// Looks at a whole head (§5.2, §5.4, §5.5).
    fn check(&mut self) -> Result<(), Fault> {
        if self.payload_left > self.most {
            return Err(Fault::TooLarge);
        }
        let first = self.header.first().copied().unwrap_or_default();
        let (is_last, is_short) = (first & 0x80 != 0, self.payload_left <= 125);
        let fits = match first & 0x0f {
            // Behind a close frame comes no data (§5.5.1).
            0..=2 if self.is_closed => false,
            0 => std::mem::replace(&mut self.in_message, !is_last),
            1 | 2 => !std::mem::replace(&mut self.in_message, !is_last),
            8 => {
                self.is_closed = true;
                // One byte is no code.
                is_last && is_short && self.payload_left != 1
            }
            9 | 10 => is_last && is_short,
            _ => false,
        };
        let least = match self.second() & 0x7f {
            126 => 126,
            127 => 65_536,
            _ => 0,
        };
        let is_masked = self.second() & 0x80 != 0;
        let fits = fits && (self.is_extended || first & 0x70 == 0);
        if fits && self.payload_left >= least && is_masked == (self.side == Side::Client) {
            Ok(())
        } else {
            Err(Fault::Malformed)
        }
    }

    fn second(&self) -> u8 {
        self.header.get(1).copied().unwrap_or_default()
    }

    /// As far as the first two bytes tell it.
    fn header_length(&self) -> usize {
        if self.read < 2 {
            return 2;
        }
        let length = match self.second() & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        let mask = if self.second() & 0x80 == 0 { 0 } else { 4 };
        length + mask
    }

    fn payload_length(&self) -> u64 {
        let number = |bytes: Option<&[u8]>| {
            bytes
                .unwrap_or_default()
                .iter()
                .fold(0_u64, |number, byte| number.wrapping_shl(8) | u64::from(*byte))
        };
        match self.second() & 0x7f {
            126 => number(self.header.get(2..4)),
            127 => number(self.header.get(2..10)),
            short => u64::from(short),
        }
    }
}

/// A close frame (RFC 6455 §5.5.1); `mask` as the side of a client must have it.
pub(super) fn close(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    // Our reasons are short: a control frame has at most 125 bytes.
    payload.truncate(125);
    let length = u8::try_from(payload.len()).unwrap_or(125);
    let Some(mask) = mask else {
        return [&[0x88, length][..], &payload].concat();
    };
    let masked = payload.iter().zip(mask.iter().cycle());
    let masked: Vec<u8> = masked.map(|(byte, mask)| byte ^ mask).collect();
    [&[0x88, length | 0x80][..], &mask, &masked].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn side(is_masked: bool) -> Side {
        if is_masked { Side::Client } else { Side::Upstream }
    }

    /// A frame with a payload of this length, in the shortest form.
    fn frame(length: usize, is_masked: bool) -> Vec<u8> {
        let mask_bit = if is_masked { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match length {
            0..126 => frame.push(mask_bit | u8::try_from(length).unwrap()),
            126..65_536 => {
                frame.push(mask_bit | 126);
                frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask_bit | 127);
                frame.extend_from_slice(&u64::try_from(length).unwrap().to_be_bytes());
            }
        }
        if is_masked {
            frame.extend_from_slice(&[1, 2, 3, 4]);
        }
        frame.resize(frame.len() + length, 0xff);
        frame
    }

    proptest! {
        #[test]
        fn boundaries_are_found_however_the_bytes_are_cut(
            lengths in prop::collection::vec(prop_oneof![0_usize..300, 65_000_usize..66_000], 1..8),
            is_masked: bool,
            cuts in prop::collection::vec(1_usize..70_000, 1..20),
        ) {
            let frames: Vec<Vec<u8>> = lengths.iter().map(|length| frame(*length, is_masked)).collect();
            let ends: Vec<usize> = frames
                .iter()
                .scan(0, |end, frame| {
                    *end += frame.len();
                    Some(*end)
                })
                .collect();
            let bytes = frames.concat();
            let mut follower = Frames::new(side(is_masked), 1 << 20, false);
            let (mut at, mut cuts) = (0, cuts.iter().cycle());
            while at < bytes.len() {
                let to = (at + cuts.next().unwrap()).min(bytes.len());
                follower.advance(&bytes[at..to]).unwrap();
                prop_assert_eq!(follower.is_at_boundary(), ends.contains(&to), "at {}", to);
                // From here to the end of the frame at hand.
                let mut finisher = Frames::new(side(is_masked), 1 << 20, false);
                finisher.advance(&bytes[..to]).unwrap();
                let taken = finisher.finish(&bytes[to..]).unwrap();
                prop_assert!(ends.contains(&(to + taken)));
                prop_assert_eq!(ends.iter().find(|end| **end >= to).copied(), Some(to + taken));
                at = to;
            }
        }

        #[test]
        fn a_frame_above_the_limit_is_told_from_its_header(length in 1_usize..70_000, is_masked: bool) {
            let frame = frame(length, is_masked);
            let header = frame.len() - length;
            let most = u64::try_from(length).unwrap();
            prop_assert_eq!(Frames::new(side(is_masked), most, false).advance(&frame), Ok(()));
            prop_assert_eq!(Frames::new(side(is_masked), most - 1, false).advance(&frame[..header]), Err(Fault::TooLarge));
        }
    }

    #[test]
    fn a_length_that_no_frame_can_have_is_too_large() {
        let huge = [0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(
            Frames::new(Side::Upstream, 1 << 24, false).advance(&huge),
            Err(Fault::TooLarge)
        );
    }

    /// Frames of an upstream, of which the last may not come, and those before may.
    const MALFORMED: [(&str, &[&[u8]]); 13] = [
        ("masked", &[&[0x81, 0x80, 1, 2, 3, 4]]),
        ("reserved data", &[&[0x83, 0]]),
        ("reserved control", &[&[0x8b, 0]]),
        ("a ping in parts", &[&[0x09, 0]]),
        ("a long close", &[&[0x88, 126, 0, 126]]),
        ("a close of one byte", &[&[0x88, 1]]),
        ("data behind a close", &[&[0x88, 0], &[0x89, 0], &[0x82, 0]]),
        ("a part of nothing", &[&[0x80, 0]]),
        (
            "a part behind the last one",
            &[&[0x01, 0], &[0x80, 0], &[0x80, 0]],
        ),
        (
            "a message within a message",
            &[&[0x01, 0], &[0x89, 0], &[0x81, 0]],
        ),
        ("two bytes of length for one", &[&[0x81, 126, 0, 125]]),
        ("eight for one", &[&[0x81, 127, 0, 0, 0, 0, 0, 0, 0, 1]]),
        ("eight for two", &[&[0x81, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff]]),
    ];

    #[test]
    fn a_head_that_is_none_of_the_protocol_is_malformed() {
        for (name, frames) in MALFORMED {
            let mut follower = Frames::new(Side::Upstream, 1 << 24, false);
            let (last, before) = frames.split_last().unwrap();
            for frame in before {
                assert_eq!(follower.advance(frame), Ok(()), "{name}");
            }
            assert_eq!(follower.advance(last), Err(Fault::Malformed), "{name}");
        }
        let unmasked = Frames::new(Side::Client, 9, false).advance(b"\x81\x02hi");
        assert_eq!(unmasked, Err(Fault::Malformed));
    }

    #[test]
    fn reserved_bits_are_for_extensions() {
        for bit in [0x40, 0x20, 0x10] {
            for opcode in [0x81, 0x82, 0x89] {
                let frame = [opcode | bit, 0];
                let follow = |is_extended| Frames::new(Side::Upstream, 9, is_extended).advance(&frame);
                assert_eq!(follow(false), Err(Fault::Malformed), "{bit:x} {opcode:x}");
                assert_eq!(follow(true), Ok(()), "{bit:x} {opcode:x}");
            }
        }
        let reserved = Frames::new(Side::Upstream, 9, true).advance(&[0xf3, 0]);
        assert_eq!(reserved, Err(Fault::Malformed), "a reserved opcode stays one");
    }

    #[test]
    fn a_close_frame_says_code_and_reason_with_a_mask_or_without() {
        assert_eq!(close(1001, "idle", None), b"\x88\x06\x03\xe9idle");
        assert_eq!(
            close(1008, "", Some([1, 2, 3, 4])),
            b"\x88\x82\x01\x02\x03\x04\x02\xf2"
        );
    }
}
