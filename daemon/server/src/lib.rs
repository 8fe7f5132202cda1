//! OpenAI-compatible HTTP over the engine, as a program's server and as a library to embed in axum.
//!
//! Knows HTTP, wire types, downloads and wiring. Never knows Kubernetes; never reads the environment.
#![forbid(unsafe_code)]

pub mod access_log;
pub mod admission;
pub mod error;
pub mod metrics;
pub mod models;
pub mod openai;
pub mod options;
pub mod validate;
pub mod weights;

mod answer;
mod builder;
mod choice;
mod downloads;
mod http;
mod payload_log;
mod prompt;
mod serve;
mod work;

pub use builder::{BuildError, EngineBuilder, RouterBuilder};
pub use downloads::Downloads;
pub use http::{RouterError, document as openapi_document};
pub use models::{LoadFailure, ModelSource, Models, Progress};
pub use options::{RouterOptions, ServerOptions};
pub use serve::{Port, ServeError, Server, serve};
