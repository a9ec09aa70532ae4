//! A set of breached passwords: small, read whole, asked without a network.
//!
//! A filter holds binary fuse filters with 16-bit fingerprints (Graf and Lemire, "Binary Fuse Filters", 2022), one for
//! each first byte of a SHA-1. It never misses a password that it was made of, and takes one in 65,536 others for one.
//! Shards keep the memory of a build small: the input is sorted, so one shard is made at a time.

mod builder;
mod format;

pub use builder::{BuildError, Built, LineFault, build};
pub use format::{FilterFault, HEADER_BYTES, MAX_FILTER_BYTES};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use xorf::{BinaryFuse16, Filter as _};

/// One shard for each first byte.
const SHARDS: usize = 256;

/// Passwords that were published in breaches.
pub struct BreachFilter {
    shards: Vec<Option<BinaryFuse16>>,
    entries: u64,
    min_count: u64,
    digest: [u8; 32],
}

impl std::fmt::Debug for BreachFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BreachFilter")
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

impl BreachFilter {
    /// Whether a password, in its [normal](crate::normal()) form, is among the breached ones.
    #[must_use]
    pub fn contains(&self, password: &str) -> bool {
        // How the published lists name a password; nothing rests on the strength of SHA-1 here.
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
        let (Some(shard), Some(key)) = (hash.as_ref().first(), key_of(hash.as_ref())) else {
            return false;
        };
        let shard = self.shards.get(usize::from(*shard)).and_then(Option::as_ref);
        shard.is_some_and(|filter| filter.contains(&key))
    }

    /// How many passwords it was made of.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// How often a password was seen, at least, to be in it.
    #[must_use]
    pub const fn min_count(&self) -> u64 {
        self.min_count
    }

    /// The SHA-256 that stands in its file, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> String {
        self.digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What a shard keeps of a SHA-1: the eight bytes behind the first.
fn key_of(sha1: &[u8]) -> Option<u64> {
    sha1.get(1..9)?.try_into().ok().map(u64::from_be_bytes)
}
