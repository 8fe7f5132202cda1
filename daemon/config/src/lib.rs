//! The daemon's configuration: types, bounds, defaults, conflicts, messages.
//!
//! Never knows Kubernetes, an async runtime, tensors or HTTP; reads no file and no environment variable.
#![forbid(unsafe_code)]

mod bounded;
mod check;
mod daemon;
mod document;
mod effective;
mod global;
pub mod json_schema;
pub mod keys;
pub mod manifest;
mod models;
mod paged_attn;
mod problem;
mod recase;
mod reference;
mod runtime;
mod sandbox;
mod server;
mod unsupported;
mod validate;

pub use bounded::{Bounded, Count, FilePath, Fraction, OutOfBounds, Text};
pub use check::Loaded;
pub use daemon::{Command, DaemonConfig, ReasoningEffort};
pub use document::Document;
pub use effective::Effective;
pub use global::{GlobalConfig, TokenSource};
pub use models::{
    AdapterConfig, Architecture, DeviceConfig, DeviceLayers, Dtype, FormatConfig, IsqOrganization,
    LoraSource, ModelConfig, ModelKind, MultimodalConfig, QuantizationConfig, WeightFormat,
};
pub use paged_attn::{BlockSize, CacheType, PagedAttnConfig, PagedAttnMode};
pub use problem::{Place, Problem, Problems, Violation};
pub use recase::{to_camel, to_snake};
pub use reference::{Support, reference_page};
pub use runtime::{AgentPermission, RuntimeConfig, SearchEmbeddingModel};
pub use sandbox::{SandboxConfig, SandboxMode, SandboxNetwork, SandboxProfile};
pub use server::{AccessLogFormat, Host, ServerConfig};
pub use validate::messages;
