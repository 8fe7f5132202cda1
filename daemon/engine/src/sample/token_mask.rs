//! The set of tokens that a grammar allows next, one bit a token.

use crate::request::TokenId;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenMask {
    words: Vec<u64>,
}

impl TokenMask {
    /// Allows nothing.
    pub fn new(vocab_size: usize) -> Self {
        TokenMask { words: vec![0; vocab_size.div_ceil(64)] }
    }

    /// Tokens outside the vocabulary are passed over.
    pub fn allow(&mut self, token: TokenId) {
        if let Some(word) = self.words.get_mut(token as usize / 64) {
            *word |= 1 << (token % 64);
        }
    }

    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    pub fn allows(&self, token: TokenId) -> bool {
        self.words.get(token as usize / 64).is_some_and(|word| word >> (token % 64) & 1 == 1)
    }

    /// Makes every token that is not allowed impossible.
    pub(super) fn apply(&self, logits: &mut [f32]) {
        for (index, values) in logits.chunks_mut(64).enumerate() {
            let word = self.words.get(index).copied().unwrap_or(0);
            for (bit, value) in values.iter_mut().enumerate() {
                if word >> bit & 1 == 0 {
                    *value = f32::NEG_INFINITY;
                }
            }
        }
    }
}
