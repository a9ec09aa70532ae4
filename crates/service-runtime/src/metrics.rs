//! The Prometheus registry of this process.
//!
//! A service registers its own metrics beside the code that counts them; every name begins with `portico_`.

use prometheus::{Encoder, Registry, TextEncoder};

/// The registry that `/metrics` shows.
#[must_use]
pub fn registry() -> &'static Registry {
    prometheus::default_registry()
}

/// Everything registered, in the Prometheus text format.
///
/// # Errors
/// When a metric cannot be encoded, which would be a bug of ours.
pub fn render() -> Result<Vec<u8>, prometheus::Error> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry().gather(), &mut text)?;
    Ok(text)
}

/// Buckets, in seconds, for everything that a request waits for.
#[expect(clippy::disallowed_types, reason = "Prometheus buckets are floats")]
pub const LATENCY_SECONDS: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
