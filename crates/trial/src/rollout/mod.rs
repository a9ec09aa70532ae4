//! A fleet of real gateways that are told by a real control plane what to run: policies that go out to them, good ones and bad
//! ones, processes that are killed at every step, and envelopes that somebody forged.
//!
//! The processes are the shipped binary with settings that compress time. Operators use the command line.

mod bundle;
mod drill;
mod forger;
mod kill;
mod measure;
mod operator;
mod outage;
mod report;
mod stage;
mod still;
mod store;

pub use bundle::{Bundle, Fault};
pub use drill::RolloutDrill;
pub use forger::Forgery;
pub use kill::Step;
pub use operator::{Said, patiently, touched};
pub use outage::{Away, Outage};
pub use report::{RolloutReport, Row};
pub use stage::{Members, Stage};

pub(crate) use operator::words;

pub use crate::rotation::clock::ClockFile;
