//! The one place that prints.

use std::io::{self, Write as _};

/// One line, or several, on standard output. A closed pipe is no error: `portico … | head` must end quietly.
pub(crate) fn line(text: &str) {
    drop(writeln!(io::stdout().lock(), "{text}"));
}

/// A document on standard output, whole: whoever keeps it must learn when it is not.
pub(crate) fn document(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// One line on standard error.
pub(crate) fn fault(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}
