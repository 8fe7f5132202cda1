//! Panics in the log. Those of engines and of requests are caught, and the daemon goes on: std's own hook would write to
//! standard error itself, and wait there for a reader that stalls.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};
use std::thread;

pub(super) fn log() {
    panic::set_hook(Box::new(tell));
}

fn tell(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(thread, location, "panicked: {}", text.unwrap_or("without a text"));
    // Only where `RUST_BACKTRACE` asks for one.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!("backtrace of the panic:\n{backtrace}");
    }
    // The program may end with this thread, and nobody else would wait for the log.
    if thread == "main" {
        super::flush();
    }
}
