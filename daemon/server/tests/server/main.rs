//! The server through its public face: HTTP in, HTTP out, over the real engine with a model of known answers.
#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests; these are their helpers
#![allow(unreachable_pub)] // a program of its own

mod bodies;
mod chat;
mod clients;
mod completions;
mod connections;
mod device;
mod embed;
mod errors;
mod fixture;
mod gpu_metrics;
mod listening;
mod operation;
mod shutdown;
#[path = "../../../../e2e/src/skipped.rs"]
mod skipped;
