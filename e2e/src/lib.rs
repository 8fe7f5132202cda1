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
pub mod gpu;
pub mod hub;
pub mod image;
mod llama_bench;
pub mod model;
mod process;
pub mod python;
pub mod quickstart;
mod stories15m;
