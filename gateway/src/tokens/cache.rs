//! Tokens that were verified, by the hash of the whole token (J45): what comes again costs no signature.
//!
//! **Invariant:** an entry answers only for the keys and the rules that it was made with, while the token is in its time.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::AcceptedToken;

/// Entries that share a lock. Few enough to look at all of them, many enough to seldom push one out early.
const WAYS: usize = 8;

/// A hash that nobody can find twice: also whoever makes tokens of their own cannot meet another's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenHash([u8; SHA256_OUTPUT_LEN]);

impl TokenHash {
    pub(super) fn of(token: &str) -> Self {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        for (to, from) in hash.iter_mut().zip(digest(&SHA256, token.as_bytes()).as_ref()) {
            *to = *from;
        }
        Self(hash)
    }

    fn number(&self) -> usize {
        let [first, second, third, fourth, ..] = self.0;
        usize::try_from(u32::from_le_bytes([first, second, third, fourth])).unwrap_or(0)
    }
}

struct Entry {
    hash: TokenHash,
    /// When the token ends, Unix seconds. Here as well, so that nothing else is read of those that stay.
    end: i64,
    token: Arc<AcceptedToken>,
}

/// In the order in which they came.
type Set = [Option<Entry>; WAYS];

/// A table of fixed size; each of its sets has a lock of its own, which is held for a few comparisons.
pub(super) struct TokenCache {
    sets: Box<[Mutex<Set>]>,
}

impl TokenCache {
    /// A table for about `max_tokens`; none at all with 0.
    pub(super) fn new(max_tokens: usize) -> Self {
        let sets = max_tokens.div_ceil(WAYS);
        Self {
            sets: (0..sets).map(|_| Mutex::new(Set::default())).collect(),
        }
    }

    fn with_set<T>(&self, hash: &TokenHash, look: impl FnOnce(&mut Set) -> T) -> Option<T> {
        let index = hash.number().checked_rem(self.sets.len())?;
        let set = self.sets.get(index)?;
        // A set is whole between any two statements of its users.
        Some(look(&mut set.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    pub(super) fn get(&self, hash: &TokenHash) -> Option<Arc<AcceptedToken>> {
        self.with_set(hash, |set| {
            let found = set.iter().flatten().find(|entry| entry.hash == *hash);
            found.map(|entry| Arc::clone(&entry.token))
        })?
    }

    /// Keeps a token; in a full set, the one that ends first makes room, and of several the one that came first.
    pub(super) fn insert(&self, hash: TokenHash, token: Arc<AcceptedToken>) {
        let end = token.good.end;
        let old = self.with_set(&hash, |set| {
            let same = set.iter().position(|slot| is_of(slot, &hash));
            let ends = |slot: &Option<Entry>| slot.as_ref().map_or(i64::MIN, |entry| entry.end);
            let first = || (0..WAYS).min_by_key(|index| set.get(*index).map(ends));
            let index = same.or_else(first).unwrap_or(0);
            let later = set.get_mut(index..)?;
            let old = later.first_mut()?.replace(Entry { hash, end, token });
            later.rotate_left(1);
            old
        });
        // Without the lock: it takes longer than all of the above.
        drop(old);
    }

    /// Forgets a token that is good no longer.
    pub(super) fn remove(&self, hash: &TokenHash) {
        self.with_set(hash, |set| {
            for slot in set.iter_mut().filter(|slot| is_of(slot, hash)) {
                *slot = None;
            }
        });
    }
}

fn is_of(slot: &Option<Entry>, hash: &TokenHash) -> bool {
    slot.as_ref().is_some_and(|entry| entry.hash == *hash)
}
