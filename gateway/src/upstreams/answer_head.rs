//! The head of an answer as it comes from the upstream, before pingora reads it: of two framings pingora drops one without
//! a word, and nobody could refuse the answer any more (FR-12).

use memchr::memchr;

/// The shortest name that is looked for.
const SHORTEST: usize = b"content-length".len();
/// And the longest.
const LONGEST: usize = b"transfer-encoding".len();
/// Where the status stands in `HTTP/1.1 200`.
const STATUS: usize = b"HTTP/1.1 ".len();

/// What has been seen of the head of one answer.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is seen by itself")]
pub(super) struct AnswerHead {
    /// The line at hand, lower case, up to its colon and up to the longest name.
    line: [u8; LONGEST],
    /// How long that is, however much of it is kept; the colon ends it.
    length: usize,
    /// The same without blanks at its end, which pingora reads over before the colon.
    name_length: usize,
    is_behind_colon: bool,
    is_behind_status: bool,
    is_interim: bool,
    is_over: bool,
    has_length: bool,
    has_coding: bool,
}

impl AnswerHead {
    /// Reads on; says whether the body is framed in two ways.
    pub(super) fn is_framed_twice(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while !self.is_over && !rest.is_empty() {
            let end = memchr(b'\n', rest);
            let parted = rest.split_at_checked(end.unwrap_or(rest.len()));
            let (part, behind) = parted.unwrap_or_default();
            self.read(part);
            if end.is_some() {
                self.end_of_line();
            }
            rest = behind.get(1..).unwrap_or_default();
        }
        self.has_length && self.has_coding
    }

    /// Reads on in a line.
    fn read(&mut self, part: &[u8]) {
        if self.is_behind_colon {
            return;
        }
        let colon = self.is_behind_status.then(|| memchr(b':', part)).flatten();
        let name = part.get(..colon.unwrap_or(part.len())).unwrap_or_default();
        if colon.is_some() && self.length.saturating_add(name.len()) < SHORTEST {
            self.is_behind_colon = true;
            return;
        }
        for byte in name.iter().filter(|byte| **byte != b'\r') {
            if let Some(place) = self.line.get_mut(self.length) {
                *place = byte.to_ascii_lowercase();
            }
            self.length = self.length.saturating_add(1);
            if !matches!(byte, b' ' | b'\t') {
                self.name_length = self.length;
            }
        }
        if colon.is_some() {
            self.end_of_name();
        }
    }

    fn end_of_name(&mut self) {
        self.is_behind_colon = true;
        // One that is longer is none of those that are looked for.
        let name = self.line.get(..self.name_length).unwrap_or_default();
        self.has_length |= name == b"content-length";
        self.has_coding |= name == b"transfer-encoding";
    }

    fn end_of_line(&mut self) {
        let is_empty = self.length == 0 && !self.is_behind_colon;
        if !self.is_behind_status {
            // Empty lines before it are none of the head.
            self.is_behind_status = !is_empty;
            let status = self.line.get(STATUS..self.length.min(LONGEST));
            self.is_interim =
                status.is_some_and(|status| status.starts_with(b"1") && !status.starts_with(b"101"));
        } else if is_empty && self.is_interim {
            *self = Self::default();
        } else if is_empty {
            self.is_over = true;
        }
        self.length = 0;
        self.name_length = 0;
        self.is_behind_colon = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_pieces(bytes: &[u8], most: usize) -> bool {
        let mut head = AnswerHead::default();
        let mut pieces = bytes.chunks(most).map(|piece| head.is_framed_twice(piece));
        pieces.any(|is_framed_twice| is_framed_twice)
    }

    #[test]
    fn fr12_two_framings_are_seen_however_the_head_is_cut_and_none_elsewhere() {
        let cases: [(&[u8], bool); 14] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            (b"HTTP/1.1 200 OK\r\nTRANSFER-ENCODING:\r\ncontent-length:2\r\n\r\n", true),
            (b"HTTP/1.1 200 OK\nContent-Length : 2\nTransfer-Encoding\t: chunked\n\n", true),
            (b"HTTP/1.1 200 OK\r\nContent-Length \t : 2\r\nTransfer-Encoding \t : chunked\r\n\r\n", true),
            (b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\r\nTransfer-Encoding: x\r\n\r\n", true),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 \r\nContent-Length: 2\r\nTransfer-Encoding: x\r\n\r\n", true),
            (b"HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\n\r\n", false),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\nA: b\r\nTransfer-Encoding: x\r\nContent-Length: 2\r\n\r\n", false),
            (b"HTTP/1.1 101 S\r\nContent-Length: 60\r\n\r\nA: b\r\nTransfer-Encoding: x\r\nContent-Length: 2\r\n\r\n", false),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Transfer-Encoding: x\r\n\r\n", false),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding-X: x\r\n\r\n", false),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding X: x\r\n\r\n", false),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: Transfer-Encoding: x\r\n\r\n", false),
            (b"HTTP/1.1 200 Transfer-Encoding: x\r\nContent-Length: 2\r\n\r\n", false),
        ];
        for (bytes, expected) in cases {
            for most in [1, 2, 3, 7, 1_024] {
                let text = String::from_utf8_lossy(bytes);
                assert_eq!(in_pieces(bytes, most), expected, "{text} in pieces of {most}");
            }
        }
    }
}
