//! Requests that keep or break the rules of HTTP, byte by byte, tokens that must be refused, and what a server in front of a
//! recording upstream makes of them: for the tests of the gateway, and for its comparison with other servers.
//!
//! Nothing here knows the gateway or its policy: the tables say what the RFCs say, and where the gateway is stricter.

#![warn(missing_docs)]

pub mod canonical;
pub mod desync;
mod exchange;
pub mod http1;
pub mod http2;
mod recorder;
pub mod responses;
pub mod tokens;

pub use exchange::{Answers, Patience, Server};
pub use recorder::{Recorded, Recorder};
