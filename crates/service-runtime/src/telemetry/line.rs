//! A log line under construction: one JSON object, written field by field into memory that serves the next line too.

use chrono::{DateTime, Datelike as _, SecondsFormat, Timelike as _, Utc};
use serde::Serialize;

/// A buffer that has grown beyond this is given back.
const KEPT_BYTES: usize = 16 * 1024;

/// A line, and what stands in it.
#[derive(Default)]
pub(super) struct Line {
    bytes: Vec<u8>,
    names: Vec<&'static str>,
}

impl Line {
    /// Begins another line in the memory of this one.
    pub(super) fn begin(&mut self) {
        self.names.clear();
        self.bytes.clear();
        self.bytes.push(b'{');
    }

    /// Whether a field has this name already.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.names.contains(&name)
    }

    /// Adds a field, whose name nobody else has.
    pub(super) fn add(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) {
        self.name(name);
        // Writing to memory does not fail.
        drop(serde_json::to_writer(&mut self.bytes, value));
    }

    /// The same for text.
    pub(super) fn add_text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        self.quote(text);
    }

    /// The same for a time, as RFC 3339 writes it, with microseconds.
    pub(super) fn add_time(&mut self, name: &'static str, time: DateTime<Utc>) {
        self.name(name);
        let Some(text) = rfc_3339(time) else {
            return self.quote(&time.to_rfc3339_opts(SecondsFormat::Micros, true));
        };
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(&text);
        self.bytes.push(b'"');
    }

    /// Ends the line, and gives it.
    pub(super) fn end(&mut self) -> &[u8] {
        self.bytes.extend_from_slice(b"}\n");
        &self.bytes
    }

    /// Whether its memory is worth keeping for the next one.
    pub(super) fn is_small(&self) -> bool {
        self.bytes.capacity() <= KEPT_BYTES
    }

    fn name(&mut self, name: &'static str) {
        if !self.names.is_empty() {
            self.bytes.push(b',');
        }
        self.names.push(name);
        // Names of fields are those of our own code, none of which needs an escape.
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b"\":");
    }

    /// Most text needs no escape.
    fn quote(&mut self, text: &str) {
        if is_plain(text.as_bytes()) {
            self.bytes.push(b'"');
            self.bytes.extend_from_slice(text.as_bytes());
            self.bytes.push(b'"');
        } else {
            drop(serde_json::to_writer(&mut self.bytes, text));
        }
    }
}

/// Whether text stands in JSON as it is. Eight bytes are looked at together; the last ones of a text once more.
fn is_plain(text: &[u8]) -> bool {
    let is_plain_byte = |byte: &u8| !matches!(byte, 0..=0x1f | b'"' | b'\\');
    let Some(last) = text.last_chunk::<8>() else {
        return text.iter().all(is_plain_byte);
    };
    let (eights, _) = text.as_chunks::<8>();
    eights.iter().chain([last]).all(|eight| are_plain(*eight))
}

/// The same for eight bytes, by the well-known search for a zero byte in a word.
fn are_plain(bytes: [u8; 8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let word = u64::from_ne_bytes(bytes);
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let has = |byte: u8| has_zero(word ^ u64::from_ne_bytes([byte; 8]));
    let has_control = word.wrapping_sub(u64::from_ne_bytes([0x20; 8])) & !word & HIGHS;
    (has_control | has(b'"') | has(b'\\')) == 0
}

/// `2026-11-26T05:26:00.000000Z`; `None` for years that do not have four digits. A tenth of what a formatter takes.
fn rfc_3339(time: DateTime<Utc>) -> Option<[u8; 27]> {
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let year = u32::try_from(time.year()).ok().filter(|year| *year <= 9_999)?;
    let micros = time.nanosecond() / 1_000;
    // A leap second has more than a second of nanoseconds.
    if micros > 999_999 {
        return None;
    }
    let parts = [
        (0, 4, year),
        (5, 2, time.month()),
        (8, 2, time.day()),
        (11, 2, time.hour()),
        (14, 2, time.minute()),
        (17, 2, time.second()),
        (20, 6, micros),
    ];
    for (at, length, mut number) in parts {
        for place in text.iter_mut().skip(at).take(length).rev() {
            *place = b'0'.saturating_add(u8::try_from(number % 10).unwrap_or(0));
            number /= 10;
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn text_is_quoted_as_json_quotes_it() {
        for part in [
            "", "plain", "é\u{7f}", "\"", "\\", "\n", "\u{0}", "\u{1f}", "\u{80} ",
        ] {
            // At every place, in words and in what is left of them.
            for (before, behind) in (0..18).flat_map(|before| [(before, 0), (before, 1), (before, 9)]) {
                let text = format!("{}{part}{}", "a".repeat(before), "é".repeat(behind));
                let mut line = Line::default();
                line.quote(&text);
                assert_eq!(line.bytes, serde_json::to_vec(&text).unwrap(), "{text:?}");
            }
        }
    }

    #[test]
    fn times_are_written_as_rfc_3339_writes_them() {
        let epoch = DateTime::UNIX_EPOCH;
        for seconds in [0, 951_827_696, 1_795_670_760, -1, 253_402_300_799] {
            for micros in [0, 7, 999_999] {
                let time = epoch + TimeDelta::seconds(seconds) + TimeDelta::microseconds(micros);
                let written = time.to_rfc3339_opts(SecondsFormat::Micros, true);
                assert_eq!(
                    rfc_3339(time).map(|text| text.to_vec()),
                    Some(written.into_bytes())
                );
            }
        }
    }

    #[test]
    fn times_that_the_short_way_cannot_write_are_written_the_long_way() {
        let late = DateTime::UNIX_EPOCH + TimeDelta::seconds(253_402_300_800);
        let leap: DateTime<Utc> = "2016-12-31T23:59:60.5Z".parse().unwrap();
        for time in [late, leap] {
            let mut line = Line::default();
            line.begin();
            line.add_time("time", time);
            let written = time.to_rfc3339_opts(SecondsFormat::Micros, true);
            assert_eq!(line.end(), format!("{{\"time\":\"{written}\"}}\n").as_bytes());
        }
    }
}
