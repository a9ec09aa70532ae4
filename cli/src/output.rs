//! The one place that prints.

use std::io::Write as _;

/// One line, or several, on standard output. A closed pipe is no error: `portico … | head` must end quietly.
pub(crate) fn line(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// One line on standard error.
pub(crate) fn fault(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}
