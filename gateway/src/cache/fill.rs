//! An answer on its way into the cache: collected while it goes to the client, and kept only when it came whole.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName};

use super::{Answer, Cache, KeyHash, Leader, Lifetime, Mark};

/// What is collected. Dropped before it is whole, nothing is kept.
pub(crate) struct Fill {
    cache: Arc<Cache>,
    key: KeyHash,
    /// Fields of the request by which the answer differs.
    vary: Vec<HeaderName>,
    headers: HeaderMap,
    lifetime: Lifetime,
    came: Instant,
    mark: Mark,
    body: BytesMut,
    largest: usize,
    /// Woken up behind the answer.
    leader: Option<Box<Leader>>,
}

/// What is known of an answer before its body.
pub(crate) struct Head {
    pub(crate) key: KeyHash,
    pub(crate) vary: Vec<HeaderName>,
    pub(crate) headers: HeaderMap,
    pub(crate) lifetime: Lifetime,
    pub(crate) mark: Mark,
    pub(crate) largest: u64,
}

impl Fill {
    /// Begins to collect.
    pub(crate) fn new(cache: Arc<Cache>, head: Head, leader: Option<Box<Leader>>) -> Self {
        Self {
            cache,
            key: head.key,
            vary: head.vary,
            headers: head.headers,
            lifetime: head.lifetime,
            came: Instant::now(),
            mark: head.mark,
            body: BytesMut::new(),
            largest: usize::try_from(head.largest).unwrap_or(usize::MAX),
            leader,
        }
    }

    /// Takes the next part; `None` when the answer is too large to be kept, or there is no room now.
    pub(crate) fn push(mut self, part: &Bytes) -> Option<Self> {
        let length = self.body.len().saturating_add(part.len());
        if length > self.largest || !self.cache.reserve(part.len()) {
            return None;
        }
        self.body.extend_from_slice(part);
        Some(self)
    }

    /// It came whole: `request` are the fields of the request that it answers.
    pub(crate) fn complete(mut self, request: &HeaderMap) {
        let length = self.body.len();
        let end = |time| self.came.checked_add(time).unwrap_or(self.came);
        let fresh_until = end(self.lifetime.fresh);
        let answer = Answer {
            headers: std::mem::take(&mut self.headers),
            age: self.lifetime.age,
            came: self.came,
            fresh_until,
            stale_until: fresh_until
                .checked_add(self.lifetime.stale)
                .unwrap_or(fresh_until),
            mark: self.mark,
            // What was collected may hold room for twice as much.
            body: Bytes::copy_from_slice(&self.body),
        };
        self.body.clear();
        self.cache.release(length);
        self.cache.keep(self.key, &self.vary, request, answer);
        drop(self.leader.take());
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        self.cache.release(self.body.len());
    }
}
