//! Wire types: the JSON that OpenAI clients send and expect, and vLLM's additions where OpenAI has none.
//!
//! Shapes only: bounds and meaning are checked in `validate`. The OpenAPI document is generated from these.

pub mod chat;
pub mod completion;
pub mod distinct;
pub mod error;
pub mod generation;
pub mod list;
pub mod logprobs;
pub mod message;
pub mod models;
pub mod tokenize;
pub mod usage;
