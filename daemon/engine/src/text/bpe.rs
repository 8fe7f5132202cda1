//! Byte-pair encoding: the same tokens as `tokenizers::models::bpe::BPE` in a fifth of its memory.
//!
//! The library keeps every token twice, each a string of its own, in maps with room for twice as many: 31 MiB for a
//! vocabulary of 150,000. Here texts lie one behind the other, and what the maps hold are numbers. What is not done here
//! (dropout, prefixes and suffixes of pieces) stays the library's.

mod file;
mod merges;
mod texts;
mod word;

use thiserror::Error;

pub(super) use file::{FileBpe, FileKind};
pub(super) use merges::{Merge, Merges};
pub(super) use texts::Texts;
use word::Word;

use crate::request::TokenId;

#[derive(Debug)]
pub(super) struct Bpe {
    texts: Texts,
    merges: Merges,
    unknown: Option<String>,
    fuse_unknown: bool,
    ignore_merges: bool,
    /// The token of each byte, for characters that are none; empty without byte fallback.
    byte_tokens: Vec<Option<TokenId>>,
}

#[derive(Debug, Error)]
#[error("the unknown token {0:?} is not in the vocabulary")]
pub(super) struct NoUnknownToken(String);

/// A token and how many bytes of the text it takes.
pub(super) type Piece = (TokenId, usize);

impl Bpe {
    pub(super) fn new(texts: Texts, merges: Merges) -> Self {
        let (unknown, byte_tokens) = (None, Vec::new());
        Bpe { texts, merges, unknown, fuse_unknown: false, ignore_merges: false, byte_tokens }
    }

    /// The token of characters that the vocabulary cannot spell; without one they are left out.
    pub(super) fn unknown(self, token: Option<&str>) -> Self {
        Bpe { unknown: token.map(str::to_owned), ..self }
    }

    /// One unknown token for several characters in a row.
    pub(super) fn fuse_unknown(self, fuse_unknown: bool) -> Self {
        Bpe { fuse_unknown, ..self }
    }

    /// A text that is a token becomes it whether or not merges lead there.
    pub(super) fn ignore_merges(self, ignore_merges: bool) -> Self {
        Bpe { ignore_merges, ..self }
    }

    /// Characters that are no tokens are spelt in bytes: `<0xC3>`.
    pub(super) fn byte_fallback(self, byte_fallback: bool) -> Self {
        let token = |byte: u8| self.texts.id(&format!("<{byte:#04X}>"));
        let byte_tokens = if byte_fallback { (0..=255).map(token).collect() } else { Vec::new() };
        Bpe { byte_tokens, ..self }
    }

    pub(super) fn texts(&self) -> &Texts {
        &self.texts
    }

    pub(super) fn pieces(&self, text: &str) -> Result<Vec<Piece>, NoUnknownToken> {
        let whole = self.texts.id(text).filter(|_| self.ignore_merges && !text.is_empty());
        if let Some(id) = whole {
            return Ok(vec![(id, text.len())]);
        }
        let mut word = self.spell(text)?;
        word.merge(&self.merges);
        Ok(word.pieces().collect())
    }

    /// Character by character.
    fn spell(&self, text: &str) -> Result<Word, NoUnknownToken> {
        let mut word = Word::with_capacity(text.len());
        // Told once it is known how far it reaches. As in the library, bytes of a later character may come before.
        let mut unknown: Option<Piece> = None;
        for (begin, character) in text.char_indices() {
            let bytes = character.len_utf8();
            let spelt = &text[begin..begin + bytes];
            if let Some(id) = self.texts.id(spelt) {
                word.extend(unknown.take());
                word.extend([(id, bytes)]);
            } else if let Some(ids) = self.spell_bytes(spelt) {
                word.extend(ids.into_iter().map(|id| (id, 1)));
            } else if let Some(id) = self.unknown_id()? {
                let fused = unknown.take_if(|_| self.fuse_unknown).map_or(0, |(_, before)| before);
                word.extend(unknown.replace((id, fused + bytes)));
            }
        }
        word.extend(unknown);
        Ok(word)
    }

    fn spell_bytes(&self, character: &str) -> Option<Vec<TokenId>> {
        character.bytes().map(|byte| self.byte_tokens.get(usize::from(byte)).copied().flatten()).collect()
    }

    fn unknown_id(&self) -> Result<Option<TokenId>, NoUnknownToken> {
        let id = |token: &String| {
            self.texts.id(token).ok_or_else(|| NoUnknownToken(token.chars().take(80).collect()))
        };
        self.unknown.as_ref().map(id).transpose()
    }
}

#[cfg(test)]
mod tests;
