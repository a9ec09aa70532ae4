//! From the list that Have I Been Pwned publishes to a filter, one shard at a time.

use std::fmt;
use std::io::{self, BufRead, Read as _, Seek, SeekFrom, Write};

use xorf::BinaryFuse16;

use super::format::{HEADER_BYTES, Shards};
use super::{SHARDS, key_of};

/// Bytes of a SHA-1.
const SHA1_BYTES: usize = 20;
/// No good line is longer: 40 digits, a colon, a count, CR and LF.
const MAX_LINE_BYTES: u64 = 128;
/// Bad lines that are told one by one; the others are counted.
const TOLD_LINES: usize = 20;

/// A line that is none of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFault {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for LineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// What came of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Built {
    /// Lines that were read.
    pub lines: u64,
    /// Passwords that are in the filter.
    pub entries: u64,
}

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The list cannot be read.
    #[error("the list cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The filter cannot be written.
    #[error("the filter cannot be written: {0}")]
    Write(#[from] io::Error),
    /// Lines are wrong: the first of them, and how many there are.
    #[error("{count} bad lines")]
    Lines {
        /// At most twenty.
        first: Vec<LineFault>,
        /// All of them.
        count: u64,
    },
    /// No filter could be made of a shard: practically impossible.
    #[error("no filter can be made of the passwords whose SHA-1 begins with {0:02x}")]
    Shard(usize),
}

/// Makes a filter of a list `SHA1:COUNT`, one password a line, sorted by SHA-1, and writes it from the beginning of `out`.
/// Passwords that were seen fewer than `min_count` times are left out. Memory is bounded by the largest shard, the 256th
/// part of the list.
///
/// # Errors
///
/// When reading or writing fails, or any line is bad; then what was written is worth nothing.
pub fn build(
    mut input: impl BufRead,
    min_count: u64,
    mut out: impl Write + Seek,
) -> Result<Built, BuildError> {
    out.seek(SeekFrom::Start(u64::try_from(HEADER_BYTES).unwrap_or_default()))?;
    let mut builder = Builder {
        min_count,
        shards: Shards::new(&mut out),
        written: 0,
        keys: Vec::new(),
        entries: 0,
        last: None,
    };
    let (mut faults, mut count, mut lines) = (Vec::new(), 0_u64, 0_u64);
    let mut line = Vec::new();
    while next_line(&mut input, &mut line).map_err(BuildError::Read)? {
        lines = lines.saturating_add(1);
        match builder.take(&line) {
            Ok(()) => {}
            Err(Refused::Line(what)) => {
                count = count.saturating_add(1);
                if faults.len() < TOLD_LINES {
                    faults.push(LineFault { line: lines, what });
                }
            }
            Err(Refused::Build(error)) => return Err(error),
        }
    }
    if count > 0 {
        return Err(BuildError::Lines { first: faults, count });
    }
    builder.write_before(SHARDS)?;
    let entries = builder.entries;
    let (header, _) = builder.shards.finish(entries, min_count);
    out.seek(SeekFrom::Start(0))?;
    out.write_all(&header)?;
    out.flush()?;
    Ok(Built { lines, entries })
}

/// Reads a line without its end; of one that is too long a part that is too long. False: there is none.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    if input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    } else {
        input.skip_until(b'\n')?;
    }
    Ok(true)
}

enum Refused {
    Line(&'static str),
    Build(BuildError),
}

struct Builder<W> {
    min_count: u64,
    shards: Shards<W>,
    /// Shards that are written.
    written: usize,
    /// Of the shard under way.
    keys: Vec<u64>,
    entries: u64,
    last: Option<[u8; SHA1_BYTES]>,
}

impl<W: Write> Builder<W> {
    fn take(&mut self, line: &[u8]) -> Result<(), Refused> {
        let (sha1, count) = parse(line).map_err(Refused::Line)?;
        match self.last {
            Some(last) if last == sha1 => return Err(Refused::Line("is there twice")),
            Some(last) if last > sha1 => {
                return Err(Refused::Line("is out of order: the list must be sorted by SHA-1"));
            }
            Some(_) | None => self.last = Some(sha1),
        }
        if count < self.min_count {
            return Ok(());
        }
        let [first, ..] = sha1;
        self.write_before(usize::from(first)).map_err(Refused::Build)?;
        let Some(key) = key_of(&sha1) else {
            return Err(Refused::Line("is no SHA-1"));
        };
        self.entries = self.entries.saturating_add(1);
        // Sorted, so equal keys stand together; a filter is made of different ones.
        if self.keys.last() != Some(&key) {
            self.keys.push(key);
        }
        Ok(())
    }

    /// Writes the shards before `next`, of which the one under way is the first.
    fn write_before(&mut self, next: usize) -> Result<(), BuildError> {
        while self.written < next {
            let shard = if self.keys.is_empty() {
                None
            } else {
                let made = BinaryFuse16::try_from(self.keys.as_slice());
                Some(made.map_err(|_| BuildError::Shard(self.written))?)
            };
            self.shards.write(shard.as_ref())?;
            self.keys.clear();
            self.written = self.written.saturating_add(1);
        }
        Ok(())
    }
}

fn parse(line: &[u8]) -> Result<([u8; SHA1_BYTES], u64), &'static str> {
    if u64::try_from(line.len()).unwrap_or(u64::MAX) >= MAX_LINE_BYTES {
        return Err("is too long");
    }
    let (hex, rest) = line.split_at_checked(2 * SHA1_BYTES).ok_or("is too short")?;
    let mut sha1 = [0; SHA1_BYTES];
    let (pairs, _) = hex.as_chunks::<2>();
    for (byte, [high, low]) in sha1.iter_mut().zip(pairs) {
        let digit = |c: u8| {
            char::from(c)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
            return Err("does not begin with 40 hexadecimal digits");
        };
        *byte = (high << 4) | low;
    }
    let count = rest.strip_prefix(b":").ok_or("has no `:` behind 40 digits")?;
    let count = std::str::from_utf8(count)
        .ok()
        .and_then(|count| count.parse().ok());
    count
        .map(|count| (sha1, count))
        .ok_or("has no whole number behind the `:`")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Cursor;

    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    use proptest::prelude::*;

    use super::*;
    use crate::{BreachFilter, FilterFault};

    fn line(password: &str, count: u64) -> String {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
        let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        format!("{hex}:{count}\r\n")
    }

    fn list<'a>(passwords: impl IntoIterator<Item = (&'a str, u64)>) -> String {
        let lines: BTreeSet<String> = passwords
            .into_iter()
            .map(|(password, count)| line(password, count))
            .collect();
        lines.into_iter().collect()
    }

    fn file(list: &str, min_count: u64) -> Result<Vec<u8>, BuildError> {
        let mut file = Cursor::new(Vec::new());
        build(list.as_bytes(), min_count, &mut file).map(|_| file.into_inner())
    }

    fn read(bytes: &[u8]) -> Result<BreachFilter, FilterFault> {
        BreachFilter::read(bytes, u64::try_from(bytes.len()).unwrap())
    }

    fn numbered(count: u32) -> Vec<String> {
        (0..count).map(|number| format!("password {number}")).collect()
    }

    #[test]
    fn what_went_in_is_found_and_hardly_anything_else() {
        let passwords = numbered(20_000);
        let list = list(passwords.iter().map(|password| (password.as_str(), 10)));
        let mut out = Cursor::new(Vec::new());
        let built = build(list.as_bytes(), 10, &mut out).unwrap();
        assert_eq!((built.lines, built.entries), (20_000, 20_000));
        let filter = read(out.get_ref()).unwrap();
        assert_eq!((filter.entries(), filter.min_count()), (20_000, 10));
        assert!(passwords.iter().all(|password| filter.contains(password)));
        let wrong = (0..100_000)
            .filter(|number| filter.contains(&format!("another {number}")))
            .count();
        assert!(
            wrong < 20,
            "{wrong} of 100,000 taken for breached; 1.5 are expected"
        );
        // Small shards have room to spare; with ten million passwords it is 2.4 bytes for each.
        let bytes = out.get_ref().len();
        assert!(bytes < 4 * 20_000 + 20 * 256, "{bytes} bytes");
    }

    #[test]
    fn passwords_that_were_seen_seldom_are_left_out() {
        let list = list([("often", 100), ("ten times", 10), ("seldom", 9)]);
        let filter = read(&file(&list, 10).unwrap()).unwrap();
        let found = ["often", "ten times", "seldom"].map(|password| filter.contains(password));
        assert_eq!((filter.entries(), found), (2, [true, true, false]));
        assert_eq!(read(&file("", 1).unwrap()).unwrap().entries(), 0);
    }

    #[test]
    fn every_bad_line_is_told_with_its_number() {
        let good = line("a", 1);
        let long = "A".repeat(1_000);
        let part = |from: usize, length: usize| good.chars().skip(from).take(length).collect::<String>();
        let bad = format!(
            "{good}{good}{}\nG{}\n{long}\n\n{}:\n{}:-1\n{}x3\n0{}",
            part(0, 20),
            part(1, 39),
            "FE".repeat(20),
            "FE".repeat(20),
            "FE".repeat(20),
            part(1, good.len()),
        );
        let Err(BuildError::Lines { first, count }) = file(&bad, 1) else {
            panic!("accepted");
        };
        let told: Vec<String> = first.iter().map(LineFault::to_string).collect();
        assert_eq!(
            told,
            [
                "line 2: is there twice",
                "line 3: is too short",
                "line 4: does not begin with 40 hexadecimal digits",
                "line 5: is too long",
                "line 6: is too short",
                "line 7: has no whole number behind the `:`",
                "line 8: has no whole number behind the `:`",
                "line 9: has no `:` behind 40 digits",
                "line 10: is out of order: the list must be sorted by SHA-1",
            ]
        );
        assert_eq!(count, 9);
        let many = "x\n".repeat(1_000);
        let Err(BuildError::Lines { first, count }) = file(&many, 1) else {
            panic!("accepted");
        };
        assert_eq!((first.len(), count), (20, 1_000));
    }

    #[test]
    fn a_list_may_have_small_digits_and_plain_line_ends() {
        let list = list([("a", 3), ("b", 4)]).to_lowercase().replace('\r', "");
        let filter = read(&file(list.trim_end(), 1).unwrap()).unwrap();
        assert!(filter.contains("a") && filter.contains("b") && !filter.contains("c"));
    }

    #[test]
    fn a_file_that_is_damaged_anywhere_is_refused() {
        let names = numbered(300);
        let good = file(&list(names.iter().map(|name| (name.as_str(), 1))), 1).unwrap();
        assert!(read(&good).is_ok());
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 0x10;
            assert!(read(&bad).is_err(), "byte {place}");
        }
        for length in (0..good.len()).step_by(7) {
            assert!(read(&good[..length]).is_err(), "{length} bytes");
        }
        assert!(matches!(
            read(&[good.as_slice(), b"x"].concat()),
            Err(FilterFault::Damaged)
        ));
        assert!(matches!(read(b"PK"), Err(FilterFault::Foreign)));
        assert!(matches!(
            read(b"something else entirely"),
            Err(FilterFault::Foreign)
        ));
        let newer = [&good[..8], &[2, 0, 0, 0], &good[12..]].concat();
        assert!(matches!(read(&newer), Err(FilterFault::Version(2))));
        assert!(matches!(
            BreachFilter::read(good.as_slice(), u64::MAX),
            Err(FilterFault::TooLarge)
        ));
    }

    /// A file is kept for years: a library that hashed otherwise would make every one of them useless in silence.
    #[test]
    fn the_format_is_what_it_was() {
        let names = numbered(1_000);
        let bytes = file(&list(names.iter().map(|name| (name.as_str(), 1))), 1).unwrap();
        let filter = read(&bytes).unwrap();
        assert_eq!(
            filter.digest(),
            "4777bd025c49629b802d379a752ee82736fda3b5b748d9be11c0abade576a467"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_password_of_the_list_is_ever_missed(passwords in prop::collection::btree_set("\\PC{0,12}", 0..300)) {
            let list = list(passwords.iter().map(|password| (password.as_str(), 5)));
            let filter = read(&file(&list, 5).unwrap()).unwrap();
            prop_assert!(passwords.iter().all(|password| filter.contains(password)));
        }

        #[test]
        fn any_bytes_are_a_list_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut out = Cursor::new(Vec::new());
            if build(bytes.as_slice(), 1, &mut out).is_ok() {
                prop_assert!(bytes.is_empty());
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let forged = [b"PORTBRCH\x01\0\0\0\0\x01\0\0".as_slice(), &bytes].concat();
            prop_assert!(read(&forged).is_err());
        }
    }
}
