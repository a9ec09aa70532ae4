//! A list that is stated whole, and of which only what has changed is sent: in pages.
//!
//! A page is named by its digest, so a statement that names it says every entry of it, and whoever holds it from the
//! statement before need not fetch it again. What ends a page is one of its entries, not how many came before: an entry that
//! comes or goes changes the page it is in, and seldom another. The newest entries are in the statement itself.

use keyring::{Revocation, RevocationList};
use serde::{Deserialize, Serialize};

use crate::envelope::MAX_ENVELOPE_BYTES;
use crate::{Digest, Statement, Stream};

/// Fewest and most entries of a page.
const PAGE_ENTRIES: (usize, usize) = (32, 1_024);
/// One entry in this many ends a page.
const ONE_IN: u8 = 128;

/// The content of the streams `revocations` and `blocks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatedList {
    /// As [`RevocationList::seq`].
    pub seq: u64,
    /// The pages in front, in their order. Left out when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pages: Vec<PageName>,
    /// The entries behind the last page.
    pub revocations: Vec<Revocation>,
}

/// Names a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageName {
    /// SHA-256 of its exact bytes.
    pub digest: Digest,
    /// Their number.
    pub bytes: u64,
}

/// The bytes of a page: a JSON array of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What a statement calls it.
    pub name: PageName,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// Why a list of pages is none.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// More bytes than an envelope could have.
    #[error("the pages have more than {MAX_ENVELOPE_BYTES} bytes together")]
    TooLarge,
    /// No list, or a page that is no array of entries.
    #[error("the list cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

impl Statement {
    /// The pages that it names, which are no more than a list may be; none of a stream that has no pages.
    ///
    /// # Errors
    ///
    /// When the content is no list, or its pages are too large together.
    pub fn pages(&self) -> Result<Vec<PageName>, ListError> {
        if !matches!(self.stream, Stream::Revocations | Stream::Blocks) {
            return Ok(Vec::new());
        }
        let list: StatedList = serde_json::from_str(self.content.get())?;
        list.check_size()?;
        Ok(list.pages)
    }
}

impl StatedList {
    /// What a gateway must be able to do to read a list that has pages.
    pub const FEATURE: &str = "pages";

    /// Divides a list into pages, and what is stated of it.
    ///
    /// # Errors
    ///
    /// When an entry has no JSON form, which does not happen.
    pub fn paginate(list: RevocationList) -> Result<(Self, Vec<Page>), ListError> {
        let mut pages = Vec::new();
        let mut open = Vec::new();
        for entry in list.revocations {
            let json = serde_json::to_vec(&entry)?;
            open.push(entry);
            let (fewest, most) = PAGE_ENTRIES;
            let [first, ..] = *Digest::of(&json).as_bytes();
            if (open.len() >= fewest && first % ONE_IN == 0) || open.len() >= most {
                pages.push(Page::of(&open)?);
                open.clear();
            }
        }
        let stated = Self {
            seq: list.seq,
            pages: pages.iter().map(|page| page.name).collect(),
            revocations: open,
        };
        Ok((stated, pages))
    }

    /// Whether the pages are no more than a list may be, before any is fetched.
    fn check_size(&self) -> Result<(), ListError> {
        let most = u64::try_from(MAX_ENVELOPE_BYTES).unwrap_or(u64::MAX);
        let bytes = self
            .pages
            .iter()
            .fold(0_u64, |sum, page| sum.saturating_add(page.bytes));
        if bytes <= most {
            Ok(())
        } else {
            Err(ListError::TooLarge)
        }
    }
}

impl Page {
    /// The page with these entries.
    ///
    /// # Errors
    ///
    /// When an entry has no JSON form, which does not happen.
    pub fn of(entries: &[Revocation]) -> Result<Self, ListError> {
        let bytes = serde_json::to_vec(entries)?;
        let name = PageName {
            digest: Digest::of(&bytes),
            bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        };
        Ok(Self { name, bytes })
    }

    /// The entries that bytes are a page of.
    ///
    /// # Errors
    ///
    /// When they are none.
    pub fn read(bytes: &[u8]) -> Result<Vec<Revocation>, ListError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn entry(number: u64) -> Revocation {
        Revocation::Token {
            issuer: "https://a.example".to_owned(),
            jti: format!("tok_{number}"),
            until: 9,
        }
    }

    fn list(numbers: impl IntoIterator<Item = u64>) -> RevocationList {
        RevocationList {
            seq: 7,
            revocations: numbers.into_iter().map(entry).collect(),
        }
    }

    fn paginate(list: &RevocationList) -> (StatedList, Vec<Page>) {
        StatedList::paginate(list.clone()).unwrap()
    }

    fn names(pages: &[Page]) -> BTreeSet<Digest> {
        pages.iter().map(|page| page.name.digest).collect()
    }

    #[test]
    fn a_short_list_has_no_pages_and_is_written_as_before() {
        let short = list(0..20);
        let (stated, pages) = paginate(&short);
        assert!(pages.is_empty());
        assert_eq!(
            serde_json::to_value(&stated).unwrap(),
            serde_json::to_value(&short).unwrap()
        );
    }

    #[test]
    fn a_full_list_has_about_as_many_pages_as_it_should_and_a_short_end() {
        let (stated, pages) = paginate(&list(0..15_000));
        assert!((60..150).contains(&pages.len()), "{}", pages.len());
        assert!(stated.revocations.len() < 1_024);
        assert!(serde_json::to_vec(&stated).unwrap().len() < 100_000);
    }

    #[test]
    fn pages_that_are_too_many_bytes_together_are_refused_before_any_is_fetched() {
        let (mut stated, _) = paginate(&list(0..500));
        assert!(stated.check_size().is_ok());
        for page in &mut stated.pages {
            page.bytes = u64::MAX;
        }
        assert!(matches!(stated.check_size(), Err(ListError::TooLarge)));
    }

    proptest! {
        #[test]
        fn what_is_divided_is_the_same_when_it_is_put_together(count in 0_u64..2_000, salt in any::<u32>()) {
            let whole = list((0..count).map(|number| number + (u64::from(salt) << 20)));
            let (stated, pages) = paginate(&whole);
            let sent: StatedList = serde_json::from_slice(&serde_json::to_vec(&stated).unwrap()).unwrap();
            prop_assert_eq!(&sent, &stated);
            prop_assert!(pages.iter().zip(&stated.pages).all(|(page, name)| Digest::of(&page.bytes) == name.digest));
            let in_pages = pages.iter().flat_map(|page| Page::read(&page.bytes).unwrap());
            let revocations = in_pages.chain(stated.revocations).collect();
            prop_assert_eq!(RevocationList { seq: stated.seq, revocations }, whole);
        }

        #[test]
        fn an_entry_that_comes_or_goes_changes_few_pages(count in 1_000_u64..3_000, at in any::<prop::sample::Index>()) {
            let (_, before) = paginate(&list(0..count));
            let (_, longer) = paginate(&list(0..=count));
            let added = names(&longer).difference(&names(&before)).count();
            prop_assert!(added <= 1, "{added} pages are new by an entry at the end");
            let without = u64::try_from(at.index(usize::try_from(count).unwrap())).unwrap();
            let (_, shorter) = paginate(&list((0..count).filter(|number| *number != without)));
            let changed = names(&shorter).difference(&names(&before)).count();
            prop_assert!(changed <= 6, "{changed} pages are new by an entry that went");
        }
    }
}
