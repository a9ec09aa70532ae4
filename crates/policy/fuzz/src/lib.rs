//! What is checked of the policy crate on any bytes: by libFuzzer here, and on the committed corpus by the crate's tests.

mod bundles;
mod evaluate;
mod parse;

pub use evaluate::evaluate;
pub use parse::parse;
