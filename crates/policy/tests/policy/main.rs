//! The policy crate from outside: the shipped policies, decisions, messages, properties and documentation.
#![cfg(test)]

mod cases;
mod corpus;
mod decisions;
mod diagnostics;
mod documentation;
mod effects;
mod limits;
mod properties;
mod responses;
mod schema;
mod shipped;
mod world;
