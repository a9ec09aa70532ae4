//! A Portico of its own to put on trial, and customers to try it with: what `portico prove`, the end-to-end tests and
//! the benchmarks share.
//!
//! Everything goes through the front door (HTTPS and the command line), as a stranger would. Only [`Ledger`] looks
//! behind it, with the auditor's read-only eyes.

#![warn(missing_docs)]

mod customer;
pub mod edge;
mod ledger;
mod raw;
pub mod rollout;
pub mod rotation;
mod system;

pub use customer::{Answer, Customer, FrontDoor, Tokens};
pub use ledger::{Ledger, Violation};
pub use system::{Endpoints, Launch, Service, System};
