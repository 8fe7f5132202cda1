//! The operator's objects as Helm renders them for values; needs Helm, but no cluster.
#![allow(clippy::unwrap_used)] // the helpers of a test fail like the test

mod sound;
#[path = "../support/mod.rs"]
mod support;
mod values;
