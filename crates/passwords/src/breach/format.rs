//! The file of a filter. Numbers are little-endian.
//!
//! ```text
//! header   8  "PORTBRCH"
//!          4  version, 1
//!          4  shards, 256
//!          8  entries
//!          8  least count
//!         32  SHA-256 of the shards and then of the 32 bytes above
//! shard    8  seed            256 times; all 0 for an empty one
//!          4  segment length
//!          4  length of all segments but the last two
//!          4  fingerprints
//!       2 · n fingerprints
//! ```

use std::io::{self, Read, Write};

use aws_lc_rs::digest::{Context, SHA256};
use xorf::{BinaryFuse16, Descriptor};

use super::{BreachFilter, SHARDS};

/// Bytes before the shards.
pub const HEADER_BYTES: usize = 64;
/// The largest file that is read: ten times what all published passwords need today.
pub const MAX_FILTER_BYTES: u64 = 16 * 1024 * 1024 * 1024;

const MAGIC: &[u8; 8] = b"PORTBRCH";
const VERSION: u32 = 1;
/// The part of the header that the digest covers.
const COVERED: usize = 32;
const SHARD_HEADER_BYTES: usize = 20;
/// Bytes that are read at a time.
const PIECE: usize = 64 * 1024;

/// Why a file is no filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterFault {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("is no file of breached passwords")]
    Foreign,
    /// It is of another version of this program.
    #[error("has version {0} of the format, and this program reads version 1")]
    Version(u32),
    /// It is larger than can be right.
    #[error("is larger than 16 GiB")]
    TooLarge,
    /// It ends too early, goes on behind its end, or says things that cannot be.
    #[error("is damaged")]
    Damaged,
    /// Its content is not what its SHA-256 says.
    #[error("is damaged: its SHA-256 is another")]
    Digest,
}

/// Writes shards in their order, and says at the end what stands before them.
pub(super) struct Shards<W> {
    out: W,
    hash: Context,
}

impl<W: Write> Shards<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            hash: Context::new(&SHA256),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }

    pub(super) fn write(&mut self, shard: Option<&BinaryFuse16>) -> io::Result<()> {
        let Some(shard) = shard else {
            return self.put(&[0; SHARD_HEADER_BYTES]);
        };
        let of = &shard.descriptor;
        let count = u32::try_from(shard.fingerprints.len()).map_err(io::Error::other)?;
        self.put(&of.seed.to_le_bytes())?;
        self.put(&of.segment_length.to_le_bytes())?;
        self.put(&of.segment_count_length.to_le_bytes())?;
        self.put(&count.to_le_bytes())?;
        for piece in shard.fingerprints.chunks(PIECE / 2) {
            let bytes: Vec<u8> = piece.iter().flat_map(|print| print.to_le_bytes()).collect();
            self.put(&bytes)?;
        }
        Ok(())
    }

    /// The header, and the writer it belongs before the shards of.
    pub(super) fn finish(mut self, entries: u64, min_count: u64) -> ([u8; HEADER_BYTES], W) {
        let covered = covered(entries, min_count);
        self.hash.update(&covered);
        let digest = self.hash.finish();
        let mut header = [0; HEADER_BYTES];
        for (place, byte) in header.iter_mut().zip(covered.iter().chain(digest.as_ref())) {
            *place = *byte;
        }
        (header, self.out)
    }
}

fn covered(entries: u64, min_count: u64) -> [u8; COVERED] {
    let mut covered = [0; COVERED];
    let parts = MAGIC
        .iter()
        .copied()
        .chain(VERSION.to_le_bytes())
        .chain(u32::try_from(SHARDS).unwrap_or_default().to_le_bytes())
        .chain(entries.to_le_bytes())
        .chain(min_count.to_le_bytes());
    for (place, byte) in covered.iter_mut().zip(parts) {
        *place = byte;
    }
    covered
}

/// What is left of a file, and the hash of what was read.
struct Source<R> {
    input: R,
    left: u64,
    hash: Context,
}

impl<R: Read> Source<R> {
    fn take(&mut self, bytes: &mut [u8]) -> Result<(), FilterFault> {
        let wanted = u64::try_from(bytes.len()).map_err(|_| FilterFault::Damaged)?;
        self.left = self.left.checked_sub(wanted).ok_or(FilterFault::Damaged)?;
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => FilterFault::Damaged,
            _ => FilterFault::Io(error),
        })?;
        self.hash.update(bytes);
        Ok(())
    }

    fn u32(&mut self) -> Result<u32, FilterFault> {
        let mut bytes = [0; 4];
        self.take(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn u64(&mut self) -> Result<u64, FilterFault> {
        let mut bytes = [0; 8];
        self.take(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    /// A shard whose parts fit together: looking into it can never leave its fingerprints.
    fn shard(&mut self) -> Result<Option<BinaryFuse16>, FilterFault> {
        let seed = self.u64()?;
        let (segment, segments, count) = (self.u32()?, self.u32()?, self.u32()?);
        if (seed, segment, segments, count) == (0, 0, 0, 0) {
            return Ok(None);
        }
        let whole = segment.checked_mul(2).and_then(|two| two.checked_add(segments));
        let fits = segment.is_power_of_two()
            && segments > 0
            && segments.is_multiple_of(segment)
            && whole == Some(count)
            && u64::from(count).saturating_mul(2) <= self.left;
        if !fits {
            return Err(FilterFault::Damaged);
        }
        let mut left = usize::try_from(count).map_err(|_| FilterFault::TooLarge)?;
        let mut fingerprints = Vec::with_capacity(left);
        let mut piece = vec![0; PIECE];
        while left > 0 {
            let now = left.min(PIECE / 2);
            let bytes = piece
                .get_mut(..now.saturating_mul(2))
                .ok_or(FilterFault::Damaged)?;
            self.take(bytes)?;
            let (pairs, _) = bytes.as_chunks::<2>();
            fingerprints.extend(pairs.iter().map(|pair| u16::from_le_bytes(*pair)));
            left = left.saturating_sub(now);
        }
        Ok(Some(BinaryFuse16 {
            descriptor: Descriptor {
                seed,
                segment_length: segment,
                segment_length_mask: segment.saturating_sub(1),
                segment_count_length: segments,
            },
            fingerprints: fingerprints.into_boxed_slice(),
        }))
    }
}

impl BreachFilter {
    /// Reads a file of `length` bytes, and believes it only whole.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is something else, or is damaged.
    pub fn read(input: impl Read, length: u64) -> Result<Self, FilterFault> {
        if length > MAX_FILTER_BYTES {
            return Err(FilterFault::TooLarge);
        }
        let mut source = Source {
            input,
            left: length,
            hash: Context::new(&SHA256),
        };
        let mut magic = [0; 8];
        let has_magic = source.take(&mut magic).map(|()| &magic == MAGIC);
        if !matches!(has_magic, Ok(true) | Err(FilterFault::Io(_))) {
            return Err(FilterFault::Foreign);
        }
        has_magic?;
        let version = source.u32()?;
        if version != VERSION {
            return Err(FilterFault::Version(version));
        }
        if usize::try_from(source.u32()?) != Ok(SHARDS) {
            return Err(FilterFault::Damaged);
        }
        let (entries, min_count) = (source.u64()?, source.u64()?);
        let mut digest = [0; 32];
        source.take(&mut digest)?;
        source.hash = Context::new(&SHA256); // the shards first, then the header
        let shards = (0..SHARDS)
            .map(|_| source.shard())
            .collect::<Result<Vec<_>, _>>()?;
        source.hash.update(&covered(entries, min_count));
        if source.left != 0 {
            return Err(FilterFault::Damaged);
        }
        if source.hash.finish().as_ref() != digest {
            return Err(FilterFault::Digest);
        }
        Ok(Self {
            shards,
            entries,
            min_count,
            digest,
        })
    }
}
