//! Weights, tensors, tokens, schedule and sampling of language models, on CPU.
//!
//! Never knows HTTP, Kubernetes or environment variables.
#![deny(unsafe_code)]

pub mod engine;
pub mod info;
pub mod options;
pub mod request;
pub mod sample;
pub mod schedule;
pub mod stats;
pub mod stream;
pub mod text;

pub use engine::{Engine, SubmitError};
pub use info::{LoadProgress, LoadStage, ModelInfo};
pub use options::{CacheOptions, CacheSize, CacheType, EngineOptions, ScheduleOptions};
pub use stats::{EngineHealth, EngineStats};
pub use stream::TokenStream;
