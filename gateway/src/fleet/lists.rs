//! The streams that are in force at once and have nothing to try out: key sets, revocations, blocked networks.

use fleet::{Digest, Objection, StatedList, Statement, Stream};
use keyring::{KeySet, Revocation, RevocationList};
use serde::de::DeserializeOwned;

use super::Fleet;
use super::blobs::objection;
use super::pages::Pages;
use crate::revocations::Part;

/// The content of a statement, read and checked.
pub(super) enum List {
    Keys(KeySet),
    Revoked(Part, RevocationList),
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
                let list = list.whole(pages.iter().map(|(_, bytes)| bytes.as_ref()));
                let list = list.map_err(|error| invalid(&error))?;
                list.validate().map_err(|error| invalid(&error))?;
                let is_network = |entry: &Revocation| {
                    matches!(entry, Revocation::Network { .. } | Revocation::SignIn { .. })
                };
                if statement.stream == Stream::Revocations {
                    return Ok(Self::Revoked(Part::Revocations, list));
                }
                match list.revocations.iter().all(is_network) {
                    true => Ok(Self::Revoked(Part::Blocks, list)),
                    false => Err(objection("invalid", "the stream of blocks holds networks only")),
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
        let invalid = |error: &dyn std::fmt::Display| objection("invalid", error.to_string());
        match self {
            Self::Keys(set) => fleet.keys.take_over(set).map_err(|error| invalid(&error)),
            Self::Revoked(part, list) => fleet
                .revocations
                .take_over(part, list)
                .map_err(|error| invalid(&error)),
        }
    }
}

/// The content as what the stream says it is.
pub(super) fn content<T: DeserializeOwned>(statement: &Statement) -> Result<T, Objection> {
    serde_json::from_str(statement.content.get()).map_err(|error| objection("malformed", error.to_string()))
}

/// A fingerprint of a set or list in memory: the SHA-256 of its JSON form.
pub(crate) fn fingerprint<T: serde::Serialize>(held: &T) -> String {
    // Structs of texts and numbers always have a JSON form.
    Digest::of(&serde_json::to_vec(held).unwrap_or_default()).to_string()
}
