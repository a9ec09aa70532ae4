//! What an OpenAPI document says of requests, compiled once, and asked for every request after that.
//!
//! **Invariant:** whatever of a used operation cannot be enforced is a finding, so nothing that the document asks for is
//! left out in silence; and checking a request takes bounded time and depth, whatever document and body say.

mod check;
mod document;
mod fault;
mod form;
mod format;
mod operation;
mod parameters;
mod pattern;
mod schema;
mod schema_reader;
mod types;

pub(crate) use document::{ApiDocument, Wanted};
pub use fault::RequestFault;
pub(crate) use operation::{Operation, Unfit};

/// The end of the name of a file that is an OpenAPI document.
pub(crate) const ENDING: &str = ".openapi.json";

#[cfg(test)]
mod tests;
