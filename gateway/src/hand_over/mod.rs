//! Upgrade without a gap (EDG-16, ADR 0027): a new process takes the listening sockets of the running one.
//!
//! `portico gateway upgrade` asks the running gateway, on a unix socket in its state directory, which starts the new
//! process from the program as it is on the disk now, hands it the sockets, waits until it is ready and serves, and then
//! drains. The sockets are the same ones, so a connection that waits to be accepted is accepted by either.
//!
//! **Invariant:** until the new process accepts connections, the old one does; whatever fails, starts late or is killed
//! before that, the old one keeps serving, and what was started is ended.

mod command;
mod predecessor;
mod sockets;
mod successor;
mod words;

pub use command::request;
pub use predecessor::Predecessor;
pub(crate) use predecessor::Turn;
pub(crate) use sockets::{Inherited, Sockets};
pub(crate) use successor::Upgrades;
