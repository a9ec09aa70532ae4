//! The policy crate from outside: the shipped policies, decisions, messages, properties and documentation.
#![cfg(test)]

mod audit;
mod audit_cases;
mod audit_observatory;
mod audit_score;
mod audit_spellings;
mod cases;
mod client_certificates;
mod corpus;
mod damaged;
mod decisions;
mod diagnostics;
mod differences;
mod documentation;
mod effects;
mod formatting;
#[expect(unreachable_pub, reason = "it is the library of the fuzz targets")]
#[path = "../../fuzz/src/lib.rs"]
mod fuzz;
mod fuzz_corpus;
mod limits;
mod properties;
mod responses;
mod sarif;
mod schema;
mod secrets;
mod shipped;
mod spelling;
mod tightening;
mod waivers;
mod world;
