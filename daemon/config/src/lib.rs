//! The daemon's configuration: types, bounds, defaults, conflicts, messages.
//!
//! Never knows Kubernetes, an async runtime, tensors or HTTP; reads no file and no environment variable.
#![forbid(unsafe_code)]

mod bounded;
mod daemon;
mod global;
mod models;
mod paged_attn;
mod runtime;
mod sandbox;
mod server;

pub use bounded::{Bounded, Count, Fraction, OutOfBounds, Text};
pub use daemon::{Command, DaemonConfig, ReasoningEffort};
pub use global::{GlobalConfig, TokenSource};
pub use models::{
    AdapterConfig, Architecture, DeviceConfig, DeviceLayers, Dtype, FormatConfig, IsqOrganization,
    LoraSource, ModelConfig, ModelKind, MultimodalConfig, QuantizationConfig, WeightFormat,
};
pub use paged_attn::{BlockSize, CacheType, PagedAttnConfig, PagedAttnMode};
pub use runtime::{AgentPermission, RuntimeConfig, SearchEmbeddingModel};
pub use sandbox::{SandboxConfig, SandboxMode, SandboxNetwork, SandboxProfile};
pub use server::{AccessLogFormat, Host, ServerConfig};
