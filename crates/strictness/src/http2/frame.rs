//! Frames as bytes (RFC 9113 §4.1), and field lists without compression (RFC 7541 §6.2.2).

/// Types of frames.
#[expect(missing_docs, reason = "the names of RFC 9113 §6")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags, which mean other things on other frames.
pub mod flag {
    /// On DATA and HEADERS.
    pub const END_STREAM: u8 = 1;
    /// On SETTINGS and PING.
    pub const ACK: u8 = 1;
    /// On HEADERS and CONTINUATION.
    pub const END_HEADERS: u8 = 4;
    /// On DATA and HEADERS.
    pub const PADDED: u8 = 8;
    /// On HEADERS.
    pub const PRIORITY: u8 = 0x20;
}

/// Error codes (RFC 9113 §7).
#[expect(missing_docs, reason = "the names of RFC 9113 §7")]
pub mod code {
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const INTERNAL_ERROR: u32 = 2;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const STREAM_CLOSED: u32 = 5;
    pub const FRAME_SIZE_ERROR: u32 = 6;
    pub const REFUSED_STREAM: u32 = 7;
    pub const COMPRESSION_ERROR: u32 = 9;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// The preface of a client (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let [_, high, middle, low] = length;
    let head = [high, middle, low, kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

/// A field without index and without Huffman code.
#[must_use]
pub fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0][..], &text(name.as_bytes()), &text(value.as_bytes())].concat()
}

/// Fields, one after the other.
#[must_use]
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|(name, value)| field(name, value))
        .collect()
}

fn text(bytes: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    match u8::try_from(bytes.len()) {
        Ok(length @ ..0x7f) => encoded.push(length),
        _ => {
            encoded.push(0x7f);
            let mut rest = bytes.len().saturating_sub(0x7f);
            while rest >= 0x80 {
                encoded.push(0x80 | u8::try_from(rest & 0x7f).unwrap_or_default());
                rest >>= 7;
            }
            encoded.push(u8::try_from(rest).unwrap_or_default());
        }
    }
    encoded.extend_from_slice(bytes);
    encoded
}

/// HEADERS that end their field list, and their stream if they say so.
#[must_use]
pub fn headers(stream: u32, ends_stream: bool, list: &[(&str, &str)]) -> Vec<u8> {
    let flags = flag::END_HEADERS | if ends_stream { flag::END_STREAM } else { 0 };
    frame(kind::HEADERS, flags, stream, &fields(list))
}

/// One setting.
#[must_use]
pub fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// The status at the begin of a field list of an answer: indexed, or a literal with or without Huffman code.
#[must_use]
pub fn status(block: &[u8]) -> Option<u16> {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // Some servers begin with the size of their table.
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20)?;
    let block = block.get(start..)?;
    match block {
        [first @ 0x88..=0x8e, ..] => INDEXED.get(usize::from(first.checked_sub(0x88)?)).copied(),
        [0x48 | 0x08 | 0x18, 3, digits @ ..] => std::str::from_utf8(digits.get(..3)?).ok()?.parse().ok(),
        [0x48 | 0x08 | 0x18, length, coded @ ..] if length & 0x80 != 0 => {
            digits(coded.get(..usize::from(length & 0x7f))?)
        }
        _ => None,
    }
}

/// Digits in the Huffman code of RFC 7541: five bits for 0 to 2, six for 3 to 9.
fn digits(coded: &[u8]) -> Option<u16> {
    let bits: Vec<u8> = coded
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1))
        .collect();
    let mut bits = bits.as_slice();
    let mut number = 0_u16;
    for _ in 0..3 {
        let value = |count: usize| -> Option<u16> {
            let bits = bits.get(..count)?;
            Some(bits.iter().fold(0, |value, bit| value << 1 | u16::from(*bit)))
        };
        let (digit, count) = match value(5)? {
            short @ 0..=2 => (short, 5),
            _ => (value(6)?.checked_sub(0b01_1001)?.checked_add(3)?, 6),
        };
        number = number.checked_mul(10)?.checked_add(digit)?;
        bits = bits.get(count..)?;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_in_every_form() {
        assert_eq!(status(&[0x8c]), Some(400));
        assert_eq!(status(b"\x48\x03431"), Some(431));
        assert_eq!(status(b"\x20\x08\x03404"), Some(404));
        // RFC 7541 appendix C.6: 302, and 307.
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), Some(302));
        assert_eq!(status(&[0x48, 0x83, 0x64, 0x0e, 0xff]), Some(307));
    }

    #[test]
    fn long_texts_have_long_lengths() {
        let value = "a".repeat(300);
        // 300 - 127 = 173 = 0x2d + 0x80 * 1 (RFC 7541 §5.1).
        assert_eq!(field("b", &value)[..6], [0, 1, b'b', 0x7f, 0xad, 0x01]);
    }
}
