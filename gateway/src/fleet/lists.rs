//! The streams that are in force at once and have nothing to try out: key sets, revocations, blocked networks.

use fleet::{Digest, Objection, StatedList, Statement, Stream};
use keyring::KeySet;
use serde::de::DeserializeOwned;

use super::Fleet;
use super::blobs::objection;
use super::pages::Pages;
use crate::revocations::{Denied, Part};

/// The content of a statement, read and checked.
pub(super) enum List {
    Keys(KeySet),
    Revoked(Part, Box<Denied>),
}

impl List {
    /// Reads and checks the content, with the pages that it names.
    ///
    /// # Errors
    /// What is wrong with it, or missing.
    pub(super) fn read(statement: &Statement, pages: &Pages) -> Result<Self, Objection> {
        let invalid = |error: &dyn std::fmt::Display| objection("invalid", error.to_string());
        match statement.stream {
            Stream::Keyset => {
                let set: KeySet = content(statement)?;
                set.validate().map_err(|error| invalid(&error))?;
                Ok(Self::Keys(set))
            }
            Stream::Revocations | Stream::Blocks => {
                let list: StatedList = content(statement)?;
                let pages = pages.named(statement.stream, &list.pages)?;
                let pages = pages.into_iter().map(|page| page.entries).collect();
                let denied = Box::new(Denied::new(list, pages).map_err(|error| invalid(&error))?);
                if statement.stream == Stream::Revocations {
                    return Ok(Self::Revoked(Part::Revocations, denied));
                }
                match denied.has_names() {
                    false => Ok(Self::Revoked(Part::Blocks, denied)),
                    true => Err(objection("invalid", "the stream of blocks holds networks only")),
                }
            }
            Stream::Policy => Err(objection("malformed", "a policy is no list")),
        }
    }

    /// Puts it in force.
    ///
    /// # Errors
    /// When it is not valid.
    pub(super) fn put(self, fleet: &Fleet) -> Result<(), Objection> {
        match self {
            Self::Keys(set) => {
                let put = fleet.keys.take_over(set);
                put.map_err(|error| objection("invalid", error.to_string()))
            }
            Self::Revoked(part, denied) => {
                fleet.revocations.take_over(part, *denied);
                Ok(())
            }
        }
    }
}

/// The content as what the stream says it is.
pub(super) fn content<T: DeserializeOwned>(statement: &Statement) -> Result<T, Objection> {
    serde_json::from_str(statement.content.get()).map_err(|error| objection("malformed", error.to_string()))
}

/// A fingerprint of a set or list in memory: the SHA-256 of its JSON form, of a list in pages of their names.
pub(crate) fn fingerprint<T: serde::Serialize>(held: &T) -> String {
    // Structs of texts and numbers always have a JSON form.
    Digest::of(&serde_json::to_vec(held).unwrap_or_default()).to_string()
}
