//! What the scheduler is told once, and what it counts.

use crate::request::TokenId;

#[derive(Clone, Debug)]
pub struct SchedulerOptions {
    /// Tokens a KV block.
    pub block_size: u32,
    pub blocks: u32,
    /// Tokens of prompt and answer together.
    pub context_len: u32,
    /// Sequences that run together; `tokens_per_step` bounds it too.
    pub max_seqs: usize,
    /// Rows of a step.
    pub tokens_per_step: usize,
    /// Prompt rows of a step that also decodes: bounds the pause that a prompt causes to running streams.
    pub prompt_tokens_beside_decode: usize,
    /// Draft tokens of a step in which no sequence has more than one known token to compute, of all of them; 0 guesses
    /// nothing, and no sequence guesses more than 15.
    pub draft_tokens: usize,
    /// Sequences that wait; more are refused.
    pub waiting_max: usize,
    /// See `prefix_index`; 0 shares nothing.
    pub prefix_cache_n: usize,
    /// The model computes prompt tokens otherwise than generated ones, in the last bits: only blocks of prompt tokens
    /// are shared.
    pub sources_apart: bool,
    /// The tokens that the chat template begins all conversations with. If there are any, the cache has one
    /// block more than `blocks`, the first one, for the last of them.
    pub opening: Vec<TokenId>,
}

/// Gauges, and totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerStats {
    pub running: usize,
    pub waiting: usize,
    pub blocks: u32,
    /// Held by running sequences.
    pub blocks_used: u32,
    /// Free, with content that a prefix hit can use.
    pub blocks_cached: u32,
    pub preemptions_total: u64,
    /// Prompt tokens of admitted sequences, and those of them found in the prefix cache.
    pub prompt_tokens_total: u64,
    pub cached_tokens_total: u64,
    /// Draft tokens computed, and those of them that were right.
    pub draft_tokens_total: u64,
    pub accepted_tokens_total: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    #[error("{name} must be at least 1")]
    Zero { name: &'static str },
    #[error("{blocks} blocks are more than can be numbered")]
    TooManyBlocks { blocks: u32 },
}

impl SchedulerOptions {
    pub(super) fn check(&self) -> Result<(), OptionsError> {
        let counts = [
            ("block_size", self.block_size as usize),
            ("blocks", self.blocks as usize),
            ("context_len", self.context_len as usize),
            ("max_seqs", self.max_seqs),
            ("tokens_per_step", self.tokens_per_step),
            ("prompt_tokens_beside_decode", self.prompt_tokens_beside_decode),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(OptionsError::Zero { name });
        }
        if self.blocks == u32::MAX {
            return Err(OptionsError::TooManyBlocks { blocks: self.blocks });
        }
        Ok(())
    }
}
