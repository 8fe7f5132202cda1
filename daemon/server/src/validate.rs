//! From a body's bytes to a request that can be served, or the error that names the field to blame.
//!
//! Pure: no clock, no I/O, no engine. What depends on the model (its vocabulary, its context) is checked in
//! `prepare`, once the model is known.

mod chat;
mod completion;
pub(crate) mod fields;
mod generation;
mod json;
mod messages;
mod unsupported;

pub(crate) use chat::template_variables;
pub use chat::{ChatRequest, ValidChat, chat};
pub use completion::{CompletionRequest, ValidCompletion, completion};
pub use generation::{Delivery, GREEDY_BELOW, Logprobs, SamplingDefaults, ValidGeneration};
pub use json::read;
pub use messages::{messages, text_of};

#[cfg(test)]
mod tests;
