//! From logits to the next token of one sequence.
//!
//! In this order: DRY, frequency and presence penalty (generated tokens), repetition penalty (prompt and generated
//! tokens), logit bias, end tokens masked while `min_tokens` is not reached, grammar mask, log probabilities read,
//! temperature, top-k, top-p (of the mass that top-k left), min-p, draw. Temperature 0 takes the largest logit instead
//! of the steps after the log probabilities; among equal ones the lowest token.
//!
//! A sampler draws from its own ChaCha12 stream, one draw a token, so the same seed gives the same tokens whatever else
//! runs. Knows logits and token ids, never text, schedules or devices.

mod buckets;
mod draw;
mod dry;
mod history;
mod logprobs;
mod penalties;
mod sampler;
mod select;
mod softmax;
mod token_mask;
mod weights;

pub use history::History;
pub use sampler::{SampleError, SampleInput, Sampler, SamplerError, SamplerOptions, Scratch};
pub use token_mask::TokenMask;

#[cfg(test)]
mod tests;
