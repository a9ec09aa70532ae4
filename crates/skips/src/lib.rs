//! Tests that cannot check everything on every machine: they say so, and fail where whoever runs them has promised that they
//! can.

#![warn(missing_docs)]

use std::fmt::Display;

/// The variable of the environment that makes every skip a failure when it is `1`.
pub const MUST_RUN: &str = "PORTICO_MUST_RUN";

/// Says that a test, or a part of it, does not check here, and why. The test then ends by itself.
///
/// # Panics
/// Where [`MUST_RUN`] is `1`.
#[track_caller]
#[expect(clippy::print_stderr, reason = "whoever runs tests reads it there")]
pub fn skip(reason: impl Display) {
    #[expect(
        clippy::disallowed_methods,
        reason = "it is a setting of the tests, and of no service"
    )]
    let must_run = std::env::var_os(MUST_RUN).is_some_and(|value| value == "1");
    assert!(!must_run, "{MUST_RUN}=1, and this cannot run here: {reason}");
    eprintln!("SKIPPED: {reason}");
}
