//! What a panic says: where it was, and never a text that was put together at run time, which may quote data.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write as _;
use std::panic::PanicHookInfo;

/// Replaces, for the rest of the process, what a panic says on standard error. Call before [`telemetry`](crate::telemetry)
/// begins: error reports go on from here. A backtrace follows where `RUST_BACKTRACE` asks for one; it has names and places.
pub fn leave_data_out() {
    std::panic::set_hook(Box::new(say));
}

fn say(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let place = panic
        .location()
        .map_or_else(|| "?".to_owned(), ToString::to_string);
    let mut text = format!(
        "thread '{name}' panicked at {place}:\n{}\n",
        words(panic.payload())
    );
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        text.push_str(&backtrace.to_string());
    }
    // Nobody else could be told.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A literal was written by a programmer; whatever else was said may quote what it is about.
fn words(payload: &(dyn Any + Send)) -> &'static str {
    let literal = payload.downcast_ref::<&'static str>();
    literal
        .copied()
        .unwrap_or("(its message may quote data, and is left out)")
}
