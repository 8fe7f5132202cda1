//! Weights, tensors, tokens, schedule and sampling of language models, on CPU or GPU.
//!
//! Never knows HTTP, Kubernetes or environment variables.
#![deny(unsafe_code)]

pub mod backend;
pub mod bench;
pub mod device;
pub mod engine;
pub mod forward;
pub mod info;
pub mod load;
pub mod memory;
pub mod model;
pub mod options;
pub mod request;
pub mod sample;
pub mod schedule;
pub mod stats;
mod step_loop;
pub mod stream;
pub mod text;
pub mod tiny;
pub mod weights;

pub use engine::{Engine, EngineParts, LoadError, SubmitError};
pub use forward::{ForwardError, Logits, Model};
pub use info::{DeviceInfo, DeviceKind, LoadProgress, LoadStage, ModelInfo, PublishedSampling};
pub use load::OptionError;
pub use options::{CacheOptions, CacheSize, CacheType, DeviceChoice, EngineOptions, ScheduleOptions};
pub use ostro_kernels::cpu::isa::Isa;
pub use stats::{EngineHealth, EngineStats};
pub use stream::TokenStream;
