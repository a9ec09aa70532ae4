//! The one place that prints.

use std::io::{self, ErrorKind, Write as _};
use std::sync::OnceLock;

/// Why standard output lost something.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// One line, or several, on standard output. A closed pipe is no error: `portico … | head` must end quietly. Any other
/// is kept for [`loss`].
pub(crate) fn line(text: &str) {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        drop(LOST.set(error));
    }
}

/// What kept a line from standard output: whoever waits for a report must learn that it is not whole.
pub(crate) fn loss() -> Option<&'static io::Error> {
    LOST.get()
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
