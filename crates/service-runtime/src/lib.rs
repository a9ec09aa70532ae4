//! What every Portico service shares: settings, telemetry, health, shutdown and the HTTP layers around a router.
//!
//! This crate knows nothing of banking, policies or keys.

#![warn(missing_docs)]

pub mod clock;
pub mod crypto;
pub mod health;
pub mod http;
pub mod memory;
pub mod metrics;
pub mod panics;
pub mod private;
pub mod secrets;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
