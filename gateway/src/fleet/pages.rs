//! The pages of lists: what a statement names and this gateway does not hold is fetched, once.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use fleet::{Digest, ListError, Objection, PageName, Statement, Stream};

use super::blobs::{Missing, Source, objection};
use super::{Fleet, lock};

/// The pages that the newest statement of each stream names, by digest: those of the list in force, and those that are there
/// of one that is being fetched.
#[derive(Debug, Default)]
pub(super) struct Pages(Mutex<BTreeMap<Stream, BTreeMap<Digest, Bytes>>>);

/// A page with its name.
pub(super) type HeldPage = (Digest, Bytes);

impl Pages {
    /// Keeps no others than these; the ones that are missing.
    fn keep_only(&self, stream: Stream, names: &[PageName]) -> Vec<PageName> {
        let mut streams = lock(&self.0);
        let held = streams.entry(stream).or_default();
        held.retain(|digest, _| names.iter().any(|name| name.digest == *digest));
        let is_missing = |name: &&PageName| !held.contains_key(&name.digest);
        names.iter().filter(is_missing).copied().collect()
    }

    fn put(&self, stream: Stream, digest: Digest, bytes: Bytes) {
        lock(&self.0).entry(stream).or_default().insert(digest, bytes);
    }

    /// These pages, in this order.
    ///
    /// # Errors
    /// When one of them is not there.
    pub(super) fn named(&self, stream: Stream, names: &[PageName]) -> Result<Vec<HeldPage>, Objection> {
        let streams = lock(&self.0);
        let held = streams.get(&stream);
        let find = |name: &PageName| {
            let bytes = held.and_then(|held| held.get(&name.digest));
            bytes
                .map(|bytes| (name.digest, bytes.clone()))
                .ok_or_else(|| objection("incomplete", format!("the page {} is not there", name.digest)))
        };
        names.iter().map(find).collect()
    }
}

/// The pages that a statement names; none of a stream that has no pages.
///
/// # Errors
/// When the statement cannot be read, or names more than a list may have.
pub(super) fn names(statement: &Statement) -> Result<Vec<PageName>, Objection> {
    statement.pages().map_err(|error| {
        let code = match error {
            ListError::TooLarge => "too_large",
            ListError::Unreadable(_) => "malformed",
        };
        objection(code, error.to_string())
    })
}

impl Fleet {
    /// Fetches the pages that are missing. What came is kept, also when this ends half-way: the next statement names most of
    /// the same.
    pub(super) async fn fetch_pages(
        &self,
        source: &mut Source<'_>,
        stream: Stream,
        names: &[PageName],
    ) -> Result<(), Missing> {
        for name in self.pages.keep_only(stream, names) {
            let bytes = source.fetch(name.digest, name.bytes).await?;
            self.pages.put(stream, name.digest, bytes);
        }
        Ok(())
    }

    /// Reads the pages of a statement from the disk, those that are there and are what they are called.
    pub(super) fn read_pages(&self, stream: Stream, names: &[PageName]) {
        for name in self.pages.keep_only(stream, names) {
            match self.disk.page(stream, name.digest) {
                Ok(Some(bytes)) => self.pages.put(stream, name.digest, bytes.into()),
                Ok(None) => {}
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(
                        stream = stream.as_str(),
                        error,
                        "a page of a list is not believed"
                    );
                }
            }
        }
    }

    /// Takes the pages of a statement from those that were handed over with it.
    pub(super) fn take_given_pages(
        &self,
        stream: Stream,
        names: &[PageName],
        given: &BTreeMap<Digest, Bytes>,
    ) {
        for name in self.pages.keep_only(stream, names) {
            if let Some(bytes) = given.get(&name.digest) {
                self.pages.put(stream, name.digest, bytes.clone());
            }
        }
    }
}
