//! Text to token ids.
//!
//! A thin layer over the tokenizers library: it decides what becomes of special tokens written in
//! the text, cuts and merges words itself where it knows how, and keeps the byte table that decoding uses.

use std::panic::{AssertUnwindSafe, catch_unwind};

use thiserror::Error;
use tokenizers::Encoding;
use tokenizers::tokenizer::{Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use super::bpe::NoUnknownToken;
use super::special_texts::SpecialTexts;
use super::token_bytes::{LeadingSpace, TokenBytes};
use super::token_model::{ModelTokenizer, TokenModel};
use super::words::Words;
use crate::request::TokenId;

/// What becomes of special tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Those in the text count as tokens, and the model's own (BOS, EOS) are added around it.
    Add,
    /// Those in the text count as tokens, none is added: for the output of a chat template.
    Keep,
}

#[derive(Debug, Error)]
#[error("cannot tokenize the text: {0}")]
pub struct EncodeError(String);

#[derive(Debug)]
pub struct Tokenizer {
    inner: ModelTokenizer,
    bytes: TokenBytes,
    leading_space: LeadingSpace,
}

impl Tokenizer {
    pub(super) fn new(inner: ModelTokenizer, bytes: TokenBytes, leading_space: LeadingSpace) -> Self {
        Tokenizer { inner, bytes, leading_space }
    }

    /// Tokens beyond the model's pieces that nobody calls special: in a text they count, and an answer shows them.
    pub(super) fn ordinary_added(&self) -> impl Iterator<Item = (TokenId, &str)> {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        let ordinary = added.iter().filter(|(id, _)| !self.bytes.is_special(**id));
        ordinary.map(|(id, token)| (*id, token.content.as_str()))
    }

    pub fn encode(&self, text: &str, special: Special) -> Result<Vec<TokenId>, EncodeError> {
        caught(|| {
            let ids = self.ids(self.cut(text))?;
            match special {
                Special::Add => self.framed(ids),
                Special::Keep => Ok(ids),
            }
        })
    }

    /// As [`Special::Keep`], of a chat template's output in which `said` has marked what stays text.
    ///
    /// That comes back once special tokens are cut out and the rest is normalised, which leaves marks alone: what
    /// follows cuts and merges it with the words around it.
    pub(super) fn encode_marked(&self, text: &str, said: &SpecialTexts) -> Result<Vec<TokenId>, EncodeError> {
        caught(|| {
            let mut pieces = self.cut(text);
            pieces.normalize(|piece| {
                said.put_back(piece);
                Ok(())
            })?;
            self.ids(pieces)
        })
    }

    /// Added tokens, and what is between them.
    fn cut(&self, text: &str) -> PreTokenizedString {
        self.inner.get_added_vocabulary().extract_and_normalize(self.inner.get_normalizer(), text)
    }

    fn ids(&self, mut pieces: PreTokenizedString) -> tokenizers::Result<Vec<TokenId>> {
        let (model, pre_tokenizer) = (self.inner.get_model(), self.inner.get_pre_tokenizer());
        if let (TokenModel::Bpe(model), Some(words)) = (model, pre_tokenizer.and_then(Words::of)) {
            let mut ids = Vec::new();
            for (piece, _, tokens) in pieces.get_splits(OffsetReferential::Normalized, OffsetType::None) {
                match tokens {
                    Some(tokens) => ids.extend(tokens.iter().map(|token| token.id)),
                    None => words.each(piece, |word| -> Result<(), NoUnknownToken> {
                        ids.extend(model.pieces(word)?.into_iter().map(|(id, _)| id));
                        Ok(())
                    })?,
                }
            }
            return Ok(ids);
        }
        if let Some(pre_tokenizer) = pre_tokenizer {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        pieces.tokenize(|piece| model.tokenize(piece.get()))?;
        Ok(pieces.into_encoding(None, 0, OffsetType::None)?.get_ids().to_vec())
    }

    /// With the tokens that the model puts around a text.
    fn framed(&self, ids: Vec<TokenId>) -> tokenizers::Result<Vec<TokenId>> {
        if self.inner.get_post_processor().is_none() {
            return Ok(ids);
        }
        // Nothing asks for what the library keeps beside the number of a token; cutting and padding are off (`load`).
        let encoding: Encoding = ids.into_iter().map(|id| (id, String::new(), (0, 0), None, 0)).collect();
        let framed = self.inner.post_process(encoding, None, true)?;
        Ok(framed.get_ids().to_vec())
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

/// The library panics where the regular expressions give up: ten million spaces in a row.
fn caught(encode: impl FnOnce() -> tokenizers::Result<Vec<TokenId>>) -> Result<Vec<TokenId>, EncodeError> {
    match catch_unwind(AssertUnwindSafe(encode)) {
        Ok(ids) => ids.map_err(|error| EncodeError(error.to_string())),
        Err(_) => Err(EncodeError("it repeats itself beyond what the tokenizer can cut".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::GgufVocabulary;
    use crate::tiny::{TinyFamily, TinyModel};
    use crate::weights::gguf::GgufFile;

    #[test]
    fn tokens_are_the_library_s() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        TinyModel::new(TinyFamily::Llama).write_gguf(&path).unwrap();
        let plain = GgufVocabulary::read(GgufFile::open(&path).unwrap().metadata()).unwrap();
        let framed = GgufVocabulary { add_bos: Some(true), add_eos: Some(true), ..plain.clone() };
        for vocabulary in [plain, framed] {
            let tokenizer = vocabulary.build_tokenizer().unwrap();
            for text in ["", "<|im_end|>", " the and 12 日本<|im_end|>é\n", "the cat's 1234567890"] {
                for (special, add) in [(Special::Add, true), (Special::Keep, false)] {
                    let library = tokenizer.inner.encode_fast(text, add).unwrap();
                    assert_eq!(tokenizer.encode(text, special).unwrap(), library.get_ids(), "{text:?}");
                }
            }
        }
    }
}
