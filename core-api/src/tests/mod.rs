//! Tests through the router, on real PostgreSQL: a bank of its own for each.

pub(crate) mod bank;
mod concurrency;
mod database_failures;
mod documentation;
mod isolation;
pub(crate) mod store;
