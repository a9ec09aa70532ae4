//! What becomes of good answers of an upstream on their way: kept for a while, compressed.

use std::time::Duration;

/// How long answers of a route are kept, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    /// How long an answer is given again at most.
    pub time: Duration,
    /// Who shares an answer.
    pub key: CacheKey,
    /// The largest body that is kept, in bytes.
    pub largest: u64,
}

/// Who shares an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheKey {
    /// Nobody: it is for whom it was made.
    Principal,
    /// Everyone; only on a route for anyone.
    Public,
}

impl CacheKey {
    /// Its word in the policy.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Principal => "principal",
            Self::Public => "public",
        }
    }
}

/// Which answers of a route are compressed for clients that take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression {
    /// Bodies of fewer bytes are sent as they are.
    pub over: u64,
    /// Content types in lower case, without parameters.
    pub types: Vec<String>,
}
