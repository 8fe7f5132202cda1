//! Weights, tensors, tokens, schedule and sampling of language models, on CPU.
//!
//! Never knows HTTP, Kubernetes or environment variables.
#![deny(unsafe_code)]

pub mod request;
pub mod text;
