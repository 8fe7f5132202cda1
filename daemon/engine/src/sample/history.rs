//! The tokens of a sequence, as penalties see them.

use crate::request::TokenId;

#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    tokens: &'a [TokenId],
    prompt_len: usize,
}

impl<'a> History<'a> {
    /// `tokens` starts with `prompt_len` prompt tokens; the rest was generated.
    pub fn new(tokens: &'a [TokenId], prompt_len: usize) -> Self {
        assert!(prompt_len <= tokens.len(), "the prompt is part of the tokens");
        History { tokens, prompt_len }
    }

    pub fn tokens(&self) -> &'a [TokenId] {
        self.tokens
    }

    pub fn prompt(&self) -> &'a [TokenId] {
        &self.tokens[..self.prompt_len]
    }

    pub fn generated(&self) -> &'a [TokenId] {
        &self.tokens[self.prompt_len..]
    }
}
