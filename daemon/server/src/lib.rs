//! OpenAI-compatible HTTP over the engine, as a program's server and as a library to embed in axum.
//!
//! Knows HTTP, wire types, downloads and wiring. Never knows Kubernetes; never reads the environment.
#![forbid(unsafe_code)]

pub mod error;
pub mod openai;
pub mod validate;
