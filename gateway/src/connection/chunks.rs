//! The body of an HTTP/1 request in chunks (RFC 9112 §7.1), read to the letter before pingora reads it.
//!
//! Pingora takes an empty size for zero, blanks behind a size, and anything at all as an extension or a trailer; and it
//! would read on into the next request.

use policy::framing::is_token;

/// Digits of a size, leading zeros included.
const MAX_DIGITS: u8 = 16;
/// Bytes of trailers, which are dropped.
const MAX_TRAILERS: u16 = 4 * 1024;

/// Where in the body the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size { digits: u8, value: u64 },
    SizeLf { value: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

const NEXT_SIZE: State = State::Size { digits: 0, value: 0 };

/// Follows a body that arrives in pieces.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    trailer_bytes: u16,
}

/// FR-10 or FR-14: the body is not in chunks, or not in one way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl Chunks {
    pub(super) const fn new() -> Self {
        Self {
            state: NEXT_SIZE,
            trailer_bytes: 0,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Looks at the bytes that come next. Gives how many of them belong to the body; what follows is another request.
    ///
    /// # Errors
    /// At the first byte that is not right.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let mut rest = bytes;
        while let (false, Some((byte, behind))) = (self.is_done(), rest.split_first()) {
            if let State::Data { left } = &mut self.state {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                *left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
                if *left == 0 {
                    self.state = State::DataCr;
                }
                rest = rest.get(count..).unwrap_or_default();
                continue;
            }
            self.state = self.after(*byte)?;
            rest = behind;
        }
        Ok(bytes.len().saturating_sub(rest.len()))
    }

    fn after(&mut self, byte: u8) -> Result<State, Broken> {
        if matches!(
            self.state,
            State::TrailerStart | State::TrailerName | State::TrailerValue
        ) {
            self.trailer_bytes = self.trailer_bytes.saturating_add(1);
            if self.trailer_bytes > MAX_TRAILERS {
                return Err(Broken);
            }
        }
        Ok(match (self.state, byte) {
            (State::Size { digits: 1.., value }, b'\r') => State::SizeLf { value },
            (State::Size { digits, value }, _) if digits < MAX_DIGITS => {
                let digit = char::from(byte).to_digit(16).ok_or(Broken)?;
                let value = value
                    .checked_mul(16)
                    .and_then(|value| value.checked_add(u64::from(digit)))
                    .filter(|value| i64::try_from(*value).is_ok())
                    .ok_or(Broken)?;
                State::Size {
                    digits: digits.saturating_add(1),
                    value,
                }
            }
            (State::SizeLf { value: 0 }, b'\n') => State::TrailerStart,
            (State::SizeLf { value }, b'\n') => State::Data { left: value },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => NEXT_SIZE,
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart | State::TrailerName, byte) if is_token(byte) => State::TrailerName,
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, b'\t' | 0x20..=0x7e | 0x80..) => State::TrailerValue,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::EndLf, b'\n') => State::Done,
            _ => return Err(Broken),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<(usize, bool), Broken> {
        let mut chunks = Chunks::new();
        let count = chunks.advance(bytes)?;
        Ok((count, chunks.is_done()))
    }

    #[test]
    fn a_body_ends_where_its_last_chunk_ends() {
        assert_eq!(read(b"3\r\nabc\r\n0\r\n\r\nGET /"), Ok((13, true)));
        assert_eq!(read(b"0A\r\n0123456789\r\n00\r\nX-T: a\r\n\r\n"), Ok((30, true)));
        assert_eq!(read(b"3\r\nab"), Ok((5, false)));
    }

    #[test]
    fn fr10_and_fr14_what_is_not_in_chunks_in_one_way_is_broken() {
        for body in [
            b"\r\n".as_slice(),
            b" 3",
            b"3 ",
            b"3;a",
            b"0x3",
            b"+3",
            b"3\n",
            b"3\r\r",
            b"3\r\nabc\n",
            b"3\r\nabcd",
            b"8000000000000000\r\n",
            b"00000000000000003",
            b"0\r\n X",
            b"0\r\nX\r",
            b"0\r\nX: a\n",
            b"0\r\nX: \0",
            b"0\r\n\n",
        ] {
            assert_eq!(read(body), Err(Broken), "{}", body.escape_ascii());
        }
        let endless = [b"0\r\nX: ".as_slice(), &[b'a'; 5_000]].concat();
        assert_eq!(read(&endless), Err(Broken));
    }

    proptest! {
        /// Wherever a body is cut into pieces, it ends at the same place; what is behind it is not looked at.
        #[test]
        fn pieces_make_no_difference(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..5),
            behind in prop::collection::vec(any::<u8>(), 0..20),
            cut in 0_usize..300,
        ) {
            let mut body: Vec<u8> = parts
                .iter()
                .flat_map(|part| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat())
                .collect();
            body.extend(b"0\r\n\r\n");
            let bytes = [body.as_slice(), &behind].concat();
            let (first, second) = bytes.split_at(cut.min(body.len() - 1));
            let mut chunks = Chunks::new();
            prop_assert_eq!(chunks.advance(first), Ok(first.len()));
            prop_assert_eq!(chunks.advance(second), Ok(body.len() - first.len()));
            prop_assert!(chunks.is_done());
        }
    }
}
