//! The policy crate from outside: the shipped policies, decisions, messages, properties and documentation.
#![cfg(test)]

mod audit;
mod audit_cases;
mod cases;
mod corpus;
mod decisions;
mod diagnostics;
mod differences;
mod documentation;
mod effects;
mod formatting;
mod limits;
mod properties;
mod responses;
mod sarif;
mod schema;
mod shipped;
mod spelling;
mod waivers;
mod world;
