//! Reading server-sent events (HTML Living Standard §9.2) from bytes as they come, in bounded memory.

/// Longest line, and most data of one event, in bytes: a pointer has about three hundred.
const MAX_BYTES: usize = 4 * 1024;

/// What came over the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// A comment: the other side lives.
    Comment,
    /// An event with its name and data.
    Event { name: String, data: String },
}

/// Something that no control plane sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("a line or an event of more than {MAX_BYTES} bytes")]
    TooLong,
    #[error("an event that is not UTF-8")]
    NotText,
}

/// The part of the stream that is not complete yet.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    /// The last byte was a carriage return, which ends a line alone and together with a line feed.
    after_return: bool,
    name: String,
    data: String,
    has_data: bool,
}

impl Events {
    /// Reads on, and tells everything that is complete.
    ///
    /// # Errors
    /// When the stream is to be given up.
    pub(super) fn read(&mut self, bytes: &[u8], mut tell: impl FnMut(Heard)) -> Result<(), Fault> {
        for byte in bytes {
            let follows_return = std::mem::take(&mut self.after_return);
            match byte {
                b'\n' if follows_return => {}
                b'\n' | b'\r' => {
                    self.after_return = *byte == b'\r';
                    self.end_of_line(&mut tell)?;
                }
                _ if self.line.len() >= MAX_BYTES => return Err(Fault::TooLong),
                _ => self.line.push(*byte),
            }
        }
        Ok(())
    }

    fn end_of_line(&mut self, tell: &mut impl FnMut(Heard)) -> Result<(), Fault> {
        let line = std::mem::take(&mut self.line);
        let line = std::str::from_utf8(&line).map_err(|_| Fault::NotText)?;
        if line.is_empty() {
            let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
            if std::mem::take(&mut self.has_data) {
                tell(Heard::Event { name, data });
            }
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => tell(Heard::Comment),
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.has_data = true;
                self.data.push_str(value);
                if self.data.len() > MAX_BYTES {
                    return Err(Fault::TooLong);
                }
            }
            // `id` and `retry` are of no use here, and others are to be ignored.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(chunks: &[&[u8]]) -> Result<Vec<Heard>, Fault> {
        let (mut events, mut heard) = (Events::default(), Vec::new());
        for chunk in chunks {
            events.read(chunk, |one| heard.push(one))?;
        }
        Ok(heard)
    }

    fn event(name: &str, data: &str) -> Heard {
        Heard::Event {
            name: name.to_owned(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn events_and_comments_are_told_when_they_are_complete() {
        let text = b": here\n\nevent: pointer\r\ndata: {\r\ndata:  1}\r\nid: 7\r\n\r\ndata\n\nevent: lost\n\ndata: half";
        let expected = [Heard::Comment, event("pointer", "{\n 1}"), event("", "")];
        assert_eq!(read(&[text]).unwrap(), expected);
    }

    #[test]
    fn what_has_no_end_is_given_up_in_time() {
        let line = vec![b'a'; MAX_BYTES];
        assert_eq!(read(&[&line]), Ok(Vec::new()));
        assert_eq!(read(&[&line, b"a"]), Err(Fault::TooLong));
        let data = [b"data: ".as_slice(), &line[..MAX_BYTES - 6], b"\n"].concat();
        assert_eq!(read(&[&data, &data]), Err(Fault::TooLong));
        assert_eq!(read(&[b"data: \xff\n"]), Err(Fault::NotText));
    }

    proptest! {
        /// However the network cuts the stream, the same is heard; and no more is kept than was said to be.
        #[test]
        fn chunks_change_nothing(
            text in "(: c|event: pointer|data: [a-z]{0,9}|\r\n|\n|\r){0,40}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let bytes = text.as_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(&chunks), read(&[bytes]));
        }

        #[test]
        fn any_bytes_are_read_in_bounds(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut events = Events::default();
            if events.read(&bytes, |_| ()).is_err() {
                return Ok(());
            }
            prop_assert!(events.line.len() <= MAX_BYTES && events.data.len() <= MAX_BYTES);
        }
    }
}
