//! What tests need and nothing else does: a database of their own in a PostgreSQL that `with-postgres` started.
//!
//! `make test` runs everything below `with-postgres`; one crate alone goes
//! `cargo run -q -p test-support --bin with-postgres -- cargo nextest run -p core-api`.

#![warn(missing_docs)]

mod database;

pub use database::{TEMPLATE, TestDatabase};
