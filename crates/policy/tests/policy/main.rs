//! The policy crate from outside: the shipped policies, decisions, messages, properties and documentation.
#![cfg(test)]

mod corpus;
mod decisions;
mod diagnostics;
mod documentation;
mod effects;
mod formatting;
mod limits;
mod properties;
mod responses;
mod schema;
mod shipped;
mod spelling;
mod world;
