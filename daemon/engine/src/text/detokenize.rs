//! Token ids to text, one token at a time.
//!
//! Tokens are bytes; a character may be spread over several. What cannot be text yet is held back.

use std::sync::Arc;

use super::TextModel;
use crate::request::TokenId;

/// Whether special tokens (`<|im_end|>`) appear in decoded text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialTokens {
    Show,
    Skip,
}

/// Turns one sequence's tokens into pieces of text; their concatenation is the decoded sequence.
#[derive(Clone, Debug)]
pub struct Detokenizer {
    model: Arc<TextModel>,
    special: SpecialTokens,
    utf8: Utf8Pieces,
}

impl Detokenizer {
    pub fn new(model: Arc<TextModel>, special: SpecialTokens) -> Self {
        Detokenizer { model, special, utf8: Utf8Pieces::default() }
    }

    /// The text that this token completes, often empty.
    pub fn push(&mut self, token: TokenId) -> String {
        if self.special == SpecialTokens::Skip && self.model.is_special(token) {
            return String::new();
        }
        self.utf8.push(self.model.token_bytes(token))
    }

    /// What was held back; an unfinished character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        self.utf8.finish()
    }
}

/// Bytes to text as they come. Like [`String::from_utf8_lossy`] over all bytes, piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Utf8Pieces {
    /// The beginning of a character, at most three bytes.
    held: Vec<u8>,
}

impl Utf8Pieces {
    pub fn push(&mut self, bytes: &[u8]) -> String {
        if self.held.is_empty()
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            return text.to_owned();
        }
        self.held.extend_from_slice(bytes);
        let complete = self.held.len() - unfinished_bytes(&self.held);
        let text = String::from_utf8_lossy(&self.held[..complete]).into_owned();
        self.held.drain(..complete);
        text
    }

    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }
}

/// Length of the character begun at the end of `bytes` that more bytes could still complete.
fn unfinished_bytes(bytes: &[u8]) -> usize {
    match bytes.utf8_chunks().last() {
        Some(chunk) => {
            let tail = chunk.invalid();
            let open = std::str::from_utf8(tail).err().is_some_and(|error| error.error_len().is_none());
            if open { tail.len() } else { 0 }
        }
        None => 0,
    }
}

#[cfg(test)]
mod tests;
