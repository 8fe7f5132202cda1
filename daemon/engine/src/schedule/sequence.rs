//! A sequence as the scheduler sees it: its tokens, its blocks, how much is computed, and how it can end.

use std::sync::Arc;

use super::block_hash::BlockHash;
use super::block_pool::BlockId;
use super::prompt_lookup;
use super::step_plan::TokenSource;
use crate::request::{FinishReason, TokenId};

/// Given by `Scheduler::submit`, ascending by arrival, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

#[derive(Clone, Debug)]
pub struct NewSequence {
    pub prompt: Arc<[TokenId]>,
    /// Lowered to what the context and the block pool hold.
    pub max_tokens: u32,
    /// Sampling one of these ends the sequence (the model's and the request's).
    pub end_tokens: Arc<[TokenId]>,
    pub cache_salt: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error("the prompt is empty")]
    EmptyPrompt,
    #[error("at least one token must be asked for")]
    NoTokens,
    #[error("the prompt has {prompt_tokens} tokens, the context holds {context_len} with the answer")]
    ContextExceeded { prompt_tokens: usize, context_len: u32 },
    #[error(
        "the prompt has {prompt_tokens} tokens and needs {blocks_needed} cache blocks, there are {blocks} \
         (of {block_size} tokens)"
    )]
    CacheExceeded { prompt_tokens: usize, blocks_needed: usize, blocks: u32, block_size: u32 },
    #[error("{waiting} sequences wait already")]
    QueueFull { waiting: usize },
}

/// What `Scheduler::advance` did with one sampled token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub sequence: SequenceId,
    pub token: TokenId,
    /// Present on the sequence's last token; the scheduler has forgotten it.
    pub finish: Option<Finish>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finish {
    pub reason: FinishReason,
    pub prompt_tokens: u32,
    pub cached_tokens: u32,
    pub completion_tokens: u32,
}

#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) id: SequenceId,
    prompt: Arc<[TokenId]>,
    /// Prompt, then what was generated, of which the last may not be computed yet, then a step's draft. Empty until it runs
    /// first: what waits takes no more than its prompt, which it may share.
    tokens: Vec<TokenId>,
    /// Tokens of the draft.
    drafted: usize,
    /// See `SchedulerOptions`.
    sources_apart: bool,
    /// `tokens` is full at this length.
    len_max: usize,
    end_tokens: Arc<[TokenId]>,
    /// `hashes[0]` is the salted root, `hashes[i + 1]` names block `i`; filled as far as somebody asked.
    hashes: Vec<BlockHash>,
    pub(super) blocks: Vec<BlockId>,
    /// Leading tokens whose keys and values are in `blocks`.
    pub(super) computed: usize,
    /// Leading blocks that are in the prefix index, put there or found.
    pub(super) published: usize,
    /// The largest `published` so far; preemption does not lower it.
    pub(super) published_max: usize,
    /// Rows given to it in the step being planned.
    pub(super) chunk: usize,
    /// The last of `computed` are not in `blocks` yet, but in the opening's.
    pub(super) takes_opening: bool,
    /// Known once it was admitted.
    pub(super) cached_tokens: Option<u32>,
}

impl Sequence {
    pub(super) fn new(id: SequenceId, new: NewSequence, len_max: usize, sources_apart: bool) -> Self {
        Sequence {
            id,
            tokens: Vec::new(),
            drafted: 0,
            sources_apart,
            len_max: len_max.min(new.prompt.len() + new.max_tokens as usize),
            prompt: new.prompt,
            end_tokens: new.end_tokens,
            hashes: vec![BlockHash::root(new.cache_salt)],
            blocks: Vec::new(),
            computed: 0,
            published: 0,
            published_max: 0,
            chunk: 0,
            takes_opening: false,
            cached_tokens: None,
        }
    }

    /// Those known.
    pub(super) fn tokens(&self) -> &[TokenId] {
        match self.tokens.len() {
            0 => &self.prompt,
            len => &self.tokens[..len - self.drafted],
        }
    }

    /// Those known, then the draft of the step. Of a sequence that runs.
    pub(super) fn tokens_and_draft(&self) -> &[TokenId] {
        &self.tokens
    }

    pub(super) fn prompt(&self) -> &[TokenId] {
        &self.prompt
    }

    pub(super) fn prompt_len(&self) -> usize {
        self.prompt.len()
    }

    /// Tokens that must be computed before the next one can be sampled, at least one.
    pub(super) fn remaining(&self) -> usize {
        self.tokens().len() - self.computed
    }

    /// Adds up to `most` tokens that may follow to this step's chunk: fewer than the repetition that tells them is long,
    /// by `margin`, none that ends the sequence, and the token after them can still be its last.
    pub(super) fn draft(&mut self, most: usize, margin: usize) {
        debug_assert_eq!(self.drafted, 0, "a step has one draft");
        let most = most.min(self.len_max - self.tokens.len() - 1);
        if most == 0 || margin >= prompt_lookup::LENGTH_MAX {
            return;
        }
        let Some(repetition) = prompt_lookup::find(&self.tokens) else {
            return;
        };
        let tokens = most.min(repetition.length.saturating_sub(margin));
        for index in (repetition.next..).take(tokens) {
            // Of a text that repeats itself, what was drafted goes on.
            let token = self.tokens[index];
            if self.end_tokens.contains(&token) {
                break;
            }
            self.tokens.push(token);
            self.drafted += 1;
        }
        self.chunk += self.drafted;
    }

    pub(super) fn forget_draft(&mut self) {
        self.shorten_draft(self.drafted);
    }

    /// Takes rows from the end of the chunk, and of the draft if they are its.
    pub(super) fn shorten_chunk(&mut self, rows: usize) {
        let lost = self.chunk.saturating_sub(rows);
        self.chunk -= lost;
        self.shorten_draft(lost.min(self.drafted));
    }

    fn shorten_draft(&mut self, lost: usize) {
        self.tokens.truncate(self.tokens.len() - lost);
        self.drafted -= lost;
    }

    pub(super) fn source(&self, position: usize) -> TokenSource {
        match position < self.prompt_len() {
            true => TokenSource::Prompt,
            false => TokenSource::Generated,
        }
    }

    /// Has run before and lost its blocks, or is running now.
    pub(super) fn was_admitted(&self) -> bool {
        self.cached_tokens.is_some()
    }

    /// Before it runs: room for everything it may still generate, so that running it never allocates.
    pub(super) fn reserve(&mut self, block_size: usize) {
        if self.tokens.is_empty() {
            self.tokens.reserve_exact(self.len_max);
            self.tokens.extend_from_slice(&self.prompt);
        }
        let blocks = self.len_max.div_ceil(block_size);
        self.blocks.reserve(blocks - self.blocks.len());
        self.hashes.reserve((blocks + 1).saturating_sub(self.hashes.len()));
    }

    /// Leading blocks that others can use, and that it can find: all, or those of prompt tokens alone.
    pub(super) fn shareable_blocks(&self, block_size: usize) -> usize {
        if self.sources_apart { self.prompt_len() / block_size } else { usize::MAX }
    }

    /// The name of full block `index` of the known tokens.
    pub(super) fn hash(&mut self, index: usize, block_size: usize) -> BlockHash {
        while self.hashes.len() <= index + 1 {
            let block = self.hashes.len() - 1;
            let tokens = &self.tokens()[block * block_size..(block + 1) * block_size];
            let parent = self.hashes[block];
            self.hashes.push(parent.child(tokens));
        }
        self.hashes[index + 1]
    }

    /// The names of all blocks ever published, for a sequence that ends.
    pub(super) fn into_published(self) -> Vec<BlockHash> {
        // A copy: `hashes` has room for all it might have generated.
        self.hashes[1..=self.published_max].to_vec()
    }

    /// Appends a sampled token; says whether it was the last.
    pub(super) fn push(&mut self, token: TokenId) -> Option<Finish> {
        debug_assert_eq!(self.drafted, 0, "the draft is forgotten by then");
        self.tokens.push(token);
        let reason = if self.end_tokens.contains(&token) {
            FinishReason::Stop(token)
        } else if self.tokens.len() == self.len_max {
            FinishReason::Length
        } else {
            return None;
        };
        Some(Finish {
            reason,
            prompt_tokens: self.prompt_len() as u32,
            cached_tokens: self.cached_tokens.unwrap_or(0),
            completion_tokens: (self.tokens.len() - self.prompt_len()) as u32,
        })
    }
}

#[cfg(test)]
impl Sequence {
    pub(super) fn has_own_tokens(&self) -> bool {
        self.tokens.capacity() > 0
    }
}
