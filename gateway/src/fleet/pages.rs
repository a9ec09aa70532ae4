//! The pages of lists: what a statement names and this gateway does not hold is fetched and read, once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fleet::{Digest, ListError, Objection, Page, PageName, Statement, Stream};

use super::blobs::{Missing, Source, objection};
use super::{Fleet, lock};
use crate::revocations::Entries;

/// The pages that the newest statement of each stream names, by digest: those of the list in force, and those that are there
/// of one that is being fetched.
#[derive(Debug, Default)]
pub(super) struct Pages(Mutex<BTreeMap<Stream, BTreeMap<Digest, HeldPage>>>);

/// A page, and what it says.
#[derive(Debug, Clone)]
pub(super) struct HeldPage {
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
    pub(super) entries: Arc<Entries>,
}

impl Pages {
    /// Keeps no others than these; the ones that are missing.
    fn keep_only(&self, stream: Stream, names: &[PageName]) -> Vec<PageName> {
        let mut streams = lock(&self.0);
        let held = streams.entry(stream).or_default();
        held.retain(|digest, _| names.iter().any(|name| name.digest == *digest));
        let is_missing = |name: &&PageName| !held.contains_key(&name.digest);
        names.iter().filter(is_missing).copied().collect()
    }

    /// Reads one and keeps it.
    ///
    /// # Errors
    /// When it cannot be read, or has an entry that is not valid.
    fn put(&self, stream: Stream, digest: Digest, bytes: Bytes) -> Result<(), Objection> {
        let read = Page::read(&bytes).map_err(anyhow::Error::from);
        let entries = read.and_then(Entries::new);
        let page = HeldPage {
            digest,
            bytes,
            entries: Arc::new(entries.map_err(|error| objection("invalid", error.to_string()))?),
        };
        lock(&self.0).entry(stream).or_default().insert(digest, page);
        Ok(())
    }

    /// These pages, in this order.
    ///
    /// # Errors
    /// When one of them is not there.
    pub(super) fn named(&self, stream: Stream, names: &[PageName]) -> Result<Vec<HeldPage>, Objection> {
        let streams = lock(&self.0);
        let held = streams.get(&stream);
        let find = |name: &PageName| {
            let page = held.and_then(|held| held.get(&name.digest)).cloned();
            page.ok_or_else(|| objection("incomplete", format!("the page {} is not there", name.digest)))
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
            let put = self.pages.put(stream, name.digest, bytes);
            put.map_err(Missing::Wrong)?;
        }
        Ok(())
    }

    /// Reads the pages of a statement from the disk, those that are there and are what they are called.
    pub(super) fn read_pages(&self, stream: Stream, names: &[PageName]) {
        for name in self.pages.keep_only(stream, names) {
            let put = match self.disk.page(stream, name.digest) {
                Ok(Some(bytes)) => self.pages.put(stream, name.digest, bytes.into()),
                Ok(None) => Ok(()),
                Err(error) => Err(objection("unreadable", format!("{error:#}"))),
            };
            if let Err(Objection { message: error, .. }) = put {
                tracing::error!(
                    stream = stream.as_str(),
                    error,
                    "a page of a list is not believed"
                );
            }
        }
    }

    /// Takes the pages of a statement from those that were handed over with it.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(super) fn take_given_pages(
        &self,
        stream: Stream,
        names: &[PageName],
        given: &BTreeMap<Digest, Bytes>,
    ) -> Result<(), Objection> {
        for name in self.pages.keep_only(stream, names) {
            if let Some(bytes) = given.get(&name.digest) {
                self.pages.put(stream, name.digest, bytes.clone())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use fleet::StatedList;
    use keyring::{Revocation, RevocationList};

    use super::*;

    const STREAM: Stream = Stream::Revocations;

    fn paginate(tokens: impl Iterator<Item = u32>) -> Vec<Page> {
        let token = |number| Revocation::Token {
            issuer: "https://a.example".to_owned(),
            jti: format!("tok_{number}"),
            until: 9,
        };
        let revocations = tokens.map(token).collect();
        StatedList::paginate(RevocationList { seq: 1, revocations })
            .unwrap()
            .1
    }

    /// The pages that are missing are there then; how many there were.
    fn complete(pages: &Pages, list: &[Page]) -> usize {
        let names: Vec<_> = list.iter().map(|page| page.name).collect();
        let missing = pages.keep_only(STREAM, &names);
        for name in &missing {
            let page = list.iter().find(|page| page.name == *name).unwrap();
            pages.put(STREAM, name.digest, page.bytes.clone().into()).unwrap();
        }
        missing.len()
    }

    fn entries(pages: &Pages, list: &[Page]) -> Vec<Arc<Entries>> {
        let names: Vec<_> = list.iter().map(|page| page.name).collect();
        let held = pages.named(STREAM, &names).unwrap();
        held.into_iter().map(|page| page.entries).collect()
    }

    #[test]
    fn only_what_is_new_of_a_list_is_read_and_what_no_list_has_is_let_go() {
        let pages = Pages::default();
        let before = paginate(0..3_000);
        assert_eq!(complete(&pages, &before), before.len());
        let read = entries(&pages, &before);

        let after = paginate((0..3_000).filter(|number| *number != 1_500));
        let new = complete(&pages, &after);
        assert!((1..8).contains(&new), "{new} pages are new");
        let shared = entries(&pages, &after);
        let is_shared = |page: &&Arc<Entries>| read.iter().any(|known| Arc::ptr_eq(known, page));
        assert_eq!(shared.iter().filter(is_shared).count(), after.len() - new);

        let gone: Vec<_> = read.iter().map(Arc::downgrade).collect();
        drop(read);
        let are_held = gone.iter().filter(|page| page.upgrade().is_some()).count();
        assert_eq!(are_held, after.len() - new);
    }

    #[test]
    fn what_is_no_page_is_not_kept() {
        let pages = Pages::default();
        for wrong in [
            "{}",
            r#"[{"kind":"everything","until":9}]"#,
            r#"[{"kind":"token","issuer":"https://a.example","jti":"","until":9}]"#,
        ] {
            let digest = Digest::of(wrong.as_bytes());
            let refused = pages.put(STREAM, digest, wrong.into()).unwrap_err();
            assert_eq!(refused.code, "invalid", "{wrong}");
            let name = PageName { digest, bytes: 9 };
            assert_eq!(pages.keep_only(STREAM, &[name]), [name]);
        }
    }
}
