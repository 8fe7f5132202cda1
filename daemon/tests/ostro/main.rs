//! The built `ostro`, as people and scripts run it.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod bench;
mod cli;
mod doctor;
#[cfg(feature = "cuda")]
mod gpu;
mod prune;
mod pull;
mod run;
mod serve;
#[path = "../../../e2e/src/skipped.rs"]
mod skipped;
mod support;
