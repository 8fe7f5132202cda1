//! Kubernetes types: `InferenceDeployment`, its schema with rules, its status.
//!
//! The daemon's tables of the spec have the schema of `ostro_config`'s types, their keys in camel case; they are kept
//! as they were written. Never knows a Kubernetes client.
#![forbid(unsafe_code)]

mod amounts;
mod bounds;
mod cache;
mod cluster;
mod conform;
mod crd;
mod lists;
mod messages;
mod pods;
mod quantity;
mod rules;
mod schema;
mod spec;
mod status;
mod validate;

pub use cluster::{
    Cache, CacheVolume, DisruptionBudget, Hold, HuggingFaceToken, MonitorKind, Monitoring,
    NetworkPolicyOptions, Probe, Probes, Rollout, RolloutStrategy, ServiceOptions,
};
pub use conform::conform;
pub use crd::{CRD_BYTES_MAX, crd_json};
pub use pods::{MOUNT_PATHS, is_zero};
pub use quantity::{quantity, thousandths};
pub use spec::{InferenceDeployment, InferenceDeploymentSpec};
pub use status::{ConditionType, InferenceDeploymentStatus, ModelState, ModelStatus, Phase, Reason};
pub use validate::{ValidSpec, too_large};
