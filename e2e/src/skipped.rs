//! Says why a test is skipped. Tests of other packages include this file.
#![allow(unreachable_pub)] // a private module of theirs

use std::fmt::Display;
use std::io::Write;

/// Past the harness, which drops what tests that pass print by the macros.
pub fn tell(reason: impl Display) {
    // In one write, so that threads do not mix their lines; where nobody can read them, nobody misses them.
    let _ = std::io::stderr().write_all(format!("skipped: {reason}\n").as_bytes());
}
