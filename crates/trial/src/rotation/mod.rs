//! Keys that rotate under load, with clocks that are wrong and processes that die, and the invariants INV-1 to INV-6 judged by
//! what clients, gateways and the database saw.
//!
//! The processes are the shipped binary with settings that compress time. `judge` is pure; everything else brings it evidence.

mod clients;
pub(crate) mod clock;
mod deaths;
mod drill;
mod evidence;
mod faults;
mod foreign;
mod judge;
mod lag;
mod operator;
mod pool;
pub(crate) mod processes;
mod provider;
mod report;
mod rewrap;
mod run;
pub(crate) mod service;
mod stage;
pub(crate) mod store;
mod storm;
mod thief;
pub(crate) mod trust;
mod turns;

pub use drill::{Control, Rotations, Turn};
pub use evidence::{Micros, Terms};
pub use faults::Failpoint;
pub use judge::{Invariant, Violation};
pub use provider::{Keep, Provider};
pub use report::{Report, Span, Spell};
pub use storm::Storm;
