//! The start that the model's chat template gives to all conversations. Its last block, which it does not fill, is kept
//! before the pool's, and copied to sequences that begin alike; its whole blocks are found as all others are.
//!
//! Only what the template says is shared by the token: of what users wrote, a count of cached tokens would tell others
//! one token after the other.

use super::block_pool::BlockId;
use super::step_plan::BlockCopy;
use crate::request::TokenId;

/// Where the last of its tokens are kept: beside the blocks that are in use first, which costs no page of memory more.
pub(super) const KEPT: BlockId = 0;

#[derive(Debug)]
pub(super) struct Opening {
    /// Empty where there is nothing to share.
    tokens: Vec<TokenId>,
    block_size: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unknown,
    /// In this block, which no step has written to since.
    Computed(BlockId),
    /// By the step that was planned last.
    Copied,
    Kept,
}

impl Opening {
    pub(super) fn new(tokens: Vec<TokenId>, block_size: usize) -> Self {
        let fills_blocks = tokens.len().is_multiple_of(block_size);
        let tokens = if fills_blocks { Vec::new() } else { tokens };
        Opening { tokens, block_size, state: State::Unknown }
    }

    /// Of a prompt whose first `blocks` blocks are cached, how many tokens are known with this; 0 if none more.
    pub(super) fn known_of(&self, prompt: &[TokenId], blocks: usize) -> usize {
        if self.state != State::Kept || blocks != self.tokens.len() / self.block_size {
            return 0;
        }
        // The logits of the last token are wanted.
        let known = self.common_with(&prompt[..prompt.len() - 1]);
        if known > blocks * self.block_size { known } else { 0 }
    }

    /// A step has computed so many tokens of this prompt, in these blocks.
    pub(super) fn note_computed(&mut self, prompt: &[TokenId], computed: usize, blocks: &[BlockId]) {
        let is_wanted = self.state == State::Unknown && !self.tokens.is_empty();
        if is_wanted && computed >= self.tokens.len() && self.common_with(prompt) == self.tokens.len() {
            self.state = State::Computed(blocks[self.tokens.len() / self.block_size]);
        }
    }

    /// What the step that is being planned has to copy to keep it.
    pub(super) fn copy(&mut self) -> Option<BlockCopy> {
        match self.state {
            State::Computed(from) => {
                self.state = State::Copied;
                Some(BlockCopy { from, to: KEPT })
            }
            // That step failed.
            State::Copied => {
                self.state = State::Unknown;
                None
            }
            State::Unknown | State::Kept => None,
        }
    }

    /// The planned step was computed.
    pub(super) fn note_step(&mut self) {
        if self.state == State::Copied {
            self.state = State::Kept;
        }
    }

    fn common_with(&self, prompt: &[TokenId]) -> usize {
        prompt.iter().zip(&self.tokens).take_while(|(token, opening)| token == opening).count()
    }
}
