//! Text to token ids.
//!
//! A thin layer over the tokenizers library: it decides what becomes of special tokens written in
//! the text, and keeps the byte table that decoding uses.

use std::panic::{AssertUnwindSafe, catch_unwind};

use thiserror::Error;
use tokenizers::AddedVocabulary;
use tokenizers::tokenizer::{Model, OffsetType, PreTokenizer};

use super::token_bytes::{LeadingSpace, TokenBytes};
use super::token_model::ModelTokenizer;
use crate::request::TokenId;

/// What becomes of special tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Those in the text count as tokens, and the model's own (BOS, EOS) are added around it.
    Add,
    /// Those in the text count as tokens, none is added: for the output of a chat template.
    Keep,
    /// Those in the text are ordinary text, none is added: for what a user typed.
    Text,
}

#[derive(Debug, Error)]
#[error("cannot tokenize the text: {0}")]
pub struct EncodeError(String);

#[derive(Debug)]
pub struct Tokenizer {
    inner: ModelTokenizer,
    /// The added tokens, set so that special ones are not looked for.
    plain: AddedVocabulary,
    bytes: TokenBytes,
    leading_space: LeadingSpace,
}

impl Tokenizer {
    pub(super) fn new(inner: ModelTokenizer, bytes: TokenBytes, leading_space: LeadingSpace) -> Self {
        let mut plain = inner.get_added_vocabulary().clone();
        plain.set_encode_special_tokens(true);
        Tokenizer { inner, plain, bytes, leading_space }
    }

    pub fn encode(&self, text: &str, special: Special) -> Result<Vec<TokenId>, EncodeError> {
        let encode = || match special {
            Special::Add => self.inner.encode_fast(text, true),
            Special::Keep => self.inner.encode_fast(text, false),
            Special::Text => self.encode_plain(text),
        };
        // The library panics where the regular expressions give up: ten million spaces in a row.
        match catch_unwind(AssertUnwindSafe(encode)) {
            Ok(Ok(encoding)) => Ok(encoding.get_ids().to_vec()),
            Ok(Err(error)) => Err(EncodeError(error.to_string())),
            Err(_) => Err(EncodeError("it repeats itself beyond what the tokenizer can cut".to_owned())),
        }
    }

    fn encode_plain(&self, text: &str) -> tokenizers::Result<tokenizers::Encoding> {
        let mut pieces = self.plain.extract_and_normalize(self.inner.get_normalizer(), text);
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        pieces.tokenize(|piece| self.inner.get_model().tokenize(piece.get()))?;
        pieces.into_encoding(None, 0, OffsetType::None)
    }

    /// Bytes that are not UTF-8 become U+FFFD; a space the tokeniser puts before every text is removed.
    pub fn decode(&self, ids: &[TokenId], special: super::SpecialTokens) -> String {
        let shown = |id: &&TokenId| special == super::SpecialTokens::Show || !self.bytes.is_special(**id);
        let mut bytes: Vec<u8> = Vec::with_capacity(4 * ids.len());
        for id in ids.iter().filter(shown) {
            bytes.extend_from_slice(self.bytes.get(*id));
        }
        let own = match self.leading_space {
            LeadingSpace::Added => bytes.strip_prefix(b" ").unwrap_or(&bytes),
            LeadingSpace::Own => &bytes,
        };
        String::from_utf8_lossy(own).into_owned()
    }

    pub fn bytes(&self) -> &TokenBytes {
        &self.bytes
    }

    /// The id of a token written exactly so.
    pub fn id_of(&self, token: &str) -> Option<TokenId> {
        self.inner.token_to_id(token)
    }
}
