//! One thing that is wrong with a request, and where.

use crate::json::escaped;
use std::borrow::Cow;

/// A part of a request that the OpenAPI document does not allow. Holds names and rules, and never a value that the client
/// sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestFault {
    /// Where: an RFC 6901 JSON pointer into the body, or `/query/…`, `/path/…`, `/header/…` and the name of a parameter.
    pub pointer: String,
    /// A stable word for the rule that is broken.
    pub code: &'static str,
    /// The rule in words.
    pub detail: Cow<'static, str>,
}

/// Faults that are told; whoever has more mends these first.
pub(super) const MOST_FAULTS: usize = 20;
/// The longest pointer that is told, in bytes: names are what a client made up.
const LONGEST_POINTER: usize = 256;

/// The way to a value, kept on the stack so that a good request costs nothing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'p> {
    Root,
    Name(&'p Place<'p>, &'p str),
    Index(&'p Place<'p>, usize),
}

impl Place<'_> {
    /// The JSON pointer; that of what is above when it would be too long.
    pub(super) fn pointer(&self) -> String {
        let (above, step) = match self {
            Self::Root => return String::new(),
            Self::Name(above, name) => (above, escaped(name)),
            Self::Index(above, index) => (above, index.to_string()),
        };
        let mut pointer = above.pointer();
        if pointer.len().saturating_add(step.len()) < LONGEST_POINTER {
            pointer.push('/');
            pointer.push_str(&step);
        }
        pointer
    }
}
