//! Words for a person, on standard error.

use std::fmt::Display;
use std::io::{self, Write};

use crate::terminal::lines;

/// Writes a line. Where that cannot be (a full disk, `2>&1 | head`), what works goes on: `eprintln!` would panic.
pub(crate) fn notice(line: impl Display) {
    let _ = writeln!(io::stderr(), "{}", lines(&line.to_string()));
}
