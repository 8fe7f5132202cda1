//! What the developer tool and the end-to-end tests share.
//!
//! Uses Ostro's public face only: processes, HTTP, files.
#![forbid(unsafe_code)]

pub mod bench;
pub mod cache;
pub mod cluster;
pub mod daemon;
mod debian;
mod download;
mod exposition;
pub mod gpu;
pub mod http;
pub mod hub;
pub mod image;
pub mod interrupt;
mod llama_bench;
mod lock;
pub mod model;
pub mod process;
pub mod python;
pub mod quickstart;
pub mod skipped;
mod stories15m;
pub mod writes;
