//! The OpenAPI document and the pages that show it.
//!
//! **Invariant:** an operation lists every problem it can answer with. What the slice raises, the slice names beside its
//! code; what every operation can meet is added here.

mod document;
mod problem_responses;
mod swagger;

pub(crate) use document::{base, complete};
pub(crate) use problem_responses::{problems, responses_of};
pub(crate) use swagger::{SharedDocument, routes};
