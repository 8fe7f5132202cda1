//! The vocabulary a GGUF file carries, as plain data, and the tokeniser built from it.
//!
//! Everything in the file is hostile until checked here: lengths agree, ids are in range, merges
//! name tokens that exist. Field meanings: the GGUF specification, section "Tokenizer".

mod metadata;

use thiserror::Error;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, PostProcessorWrapper};

use super::bpe::{Merges, Texts};
use super::token_model::ModelTokenizer;
use super::tokenize::Tokenizer;
use super::{byte_level, sentencepiece, token_bytes, wordpiece};
use crate::request::TokenId;

/// Tokens longer than this are refused: no real vocabulary has them, and merging them is quadratic.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// `tokenizer.*` metadata of a GGUF file; an absent list is empty, an absent key `None`.
#[derive(Clone, Debug, Default)]
pub struct GgufVocabulary {
    /// `tokenizer.ggml.model`: `gpt2`, `llama`, `bert`, `gemma4`.
    pub model: String,
    /// `tokenizer.ggml.pre`: names the pre-tokeniser of byte-level BPE.
    pub pre: Option<String>,
    pub tokens: Vec<String>,
    pub scores: Vec<f32>,
    /// See [`TokenType`]. Bytes, as a file may have them: of many, this takes no more memory.
    pub token_types: Vec<u8>,
    /// `left right`, best first.
    pub merges: Vec<String>,
    pub bos: Option<TokenId>,
    pub eos: Option<TokenId>,
    /// End of turn and end of message, where the file names them.
    pub eot: Option<TokenId>,
    pub eom: Option<TokenId>,
    pub unk: Option<TokenId>,
    pub pad: Option<TokenId>,
    pub sep: Option<TokenId>,
    pub cls: Option<TokenId>,
    pub add_bos: Option<bool>,
    pub add_eos: Option<bool>,
    pub add_space_prefix: Option<bool>,
    pub chat_template: Option<String>,
    /// `tokenizer.chat_template.NAME`, name and template.
    pub named_chat_templates: Vec<(String, String)>,
}

/// `tokenizer.ggml.token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

#[derive(Debug, Error)]
pub enum VocabularyError {
    #[error("tokenizer model \"{0}\" is not supported (supported: gpt2, llama, bert, gemma4)")]
    UnknownModel(String),
    #[error("pre-tokenizer \"{0}\" is not supported")]
    UnknownPreTokenizer(String),
    #[error("the vocabulary has no tokens")]
    Empty,
    #[error("the vocabulary has {tokens} tokens but {count} {field}")]
    LengthMismatch { field: &'static str, count: usize, tokens: usize },
    #[error("{field} is {id}, but the vocabulary has {tokens} tokens")]
    IdOutOfRange { field: &'static str, id: TokenId, tokens: usize },
    #[error("token {id} is {bytes} bytes long, more than {TOKEN_BYTES_MAX}")]
    TokenTooLong { id: usize, bytes: usize },
    #[error("merge {index} (\"{merge}\") is not two tokens whose concatenation is a token")]
    BadMerge { index: usize, merge: String },
    #[error("the vocabulary has no {0}")]
    Missing(&'static str),
    #[error("cannot build the tokenizer: {0}")]
    Build(String),
}

impl VocabularyError {
    pub(super) fn build(source: tokenizers::Error) -> Self {
        VocabularyError::Build(source.to_string())
    }
}

impl GgufVocabulary {
    pub fn token_type(&self, index: usize) -> TokenType {
        match self.token_types.get(index) {
            Some(2) => TokenType::Unknown,
            Some(3) => TokenType::Control,
            Some(4) => TokenType::UserDefined,
            Some(5) => TokenType::Unused,
            Some(6) => TokenType::Byte,
            _ => TokenType::Normal,
        }
    }

    /// The tokeniser this vocabulary describes.
    pub fn build_tokenizer(&self) -> Result<Tokenizer, VocabularyError> {
        self.check()?;
        let parts = match self.model.as_str() {
            "gpt2" => byte_level::build(self)?,
            "llama" => sentencepiece::build_from_scores(self)?,
            "gemma4" => sentencepiece::build_from_merges(self)?,
            "bert" => wordpiece::build(self)?,
            other => return Err(VocabularyError::UnknownModel(other.to_owned())),
        };
        let mut tokenizer = parts.tokenizer;
        tokenizer.add_tokens(self.added_tokens()).map_err(VocabularyError::build)?;
        if let Some(post_processor) = self.post_processor(parts.frame)? {
            tokenizer.with_post_processor(Some(post_processor));
        }
        let bytes = token_bytes::TokenBytes::from_vocabulary(self, parts.spelling);
        Ok(Tokenizer::new(tokenizer, bytes, parts.leading_space))
    }

    fn check(&self) -> Result<(), VocabularyError> {
        let tokens = self.tokens.len();
        if tokens == 0 {
            return Err(VocabularyError::Empty);
        }
        for (field, count) in [("scores", self.scores.len()), ("token types", self.token_types.len())] {
            if count != 0 && count != tokens {
                return Err(VocabularyError::LengthMismatch { field, count, tokens });
            }
        }
        if let Some((id, token)) = self.tokens.iter().enumerate().find(|(_, t)| t.len() > TOKEN_BYTES_MAX) {
            return Err(VocabularyError::TokenTooLong { id, bytes: token.len() });
        }
        for (field, id) in self.used_ids() {
            if let Some(id) = id.filter(|id| *id as usize >= tokens) {
                return Err(VocabularyError::IdOutOfRange { field, id, tokens });
            }
        }
        Ok(())
    }

    /// Padding, separator and class are left out: files name ones beyond the vocabulary where the model uses none.
    fn used_ids(&self) -> [(&'static str, Option<TokenId>); 5] {
        [
            ("bos_token_id", self.bos),
            ("eos_token_id", self.eos),
            ("eot_token_id", self.eot),
            ("eom_token_id", self.eom),
            ("unknown_token_id", self.unk),
        ]
    }

    pub fn token(&self, id: Option<TokenId>) -> Option<&str> {
        id.and_then(|id| self.tokens.get(id as usize)).map(String::as_str)
    }

    /// The first of equal tokens wins, as everywhere in the field.
    pub(super) fn texts(&self) -> Texts {
        Texts::new((0..).zip(self.tokens.iter().map(String::as_str)))
    }

    /// The merges, each checked: both halves and the whole are tokens.
    pub(super) fn read_merges(&self, texts: &Texts) -> Result<Merges, VocabularyError> {
        if self.merges.is_empty() {
            return Err(VocabularyError::Missing("merges"));
        }
        let merges = self.merges.iter().enumerate().map(|(index, merge)| {
            let bad = || VocabularyError::BadMerge { index, merge: merge.chars().take(80).collect() };
            merge_halves(merge).and_then(|(left, right)| texts.merge(left, right)).ok_or_else(bad)
        });
        Ok(Merges::new(merges.collect::<Result<_, _>>()?))
    }

    fn added_tokens(&self) -> Vec<AddedToken> {
        let added = |(id, token): (usize, &String)| match self.token_type(id) {
            TokenType::Control | TokenType::Unknown => Some(AddedToken::from(token.clone(), true)),
            TokenType::UserDefined => Some(AddedToken::from(token.clone(), false).normalized(false)),
            _ => None,
        };
        self.tokens.iter().enumerate().filter_map(added).collect()
    }

    /// What `Special::Add` puts around a text.
    fn post_processor(&self, frame: Frame) -> Result<Option<PostProcessorWrapper>, VocabularyError> {
        // Files of other models may name these two, but no text of theirs has them around it.
        let [cls, sep] = [self.cls, self.sep].map(|id| id.filter(|_| self.model == "bert"));
        let begin = if self.add_bos.unwrap_or(frame.begin) { cls.or(self.bos) } else { None };
        let end = if self.add_eos.unwrap_or(frame.end) { sep.or(self.eos) } else { None };
        let (begin, end) = (self.token(begin), self.token(end));
        if begin.is_none() && end.is_none() {
            return Ok(None);
        }
        let pieces = begin.map(|_| "BEGIN:0").into_iter().chain(["$A:0"]).chain(end.map(|_| "END:0"));
        let special = [("BEGIN", begin), ("END", end)].into_iter().filter_map(|(name, token)| {
            let token = token?;
            // The first of equal tokens, as in `texts`.
            Some((name, self.tokens.iter().position(|other| other == token)? as TokenId, token))
        });
        let special = special
            .map(|(name, id, token)| {
                tokenizers::processors::template::SpecialToken::new(
                    name.to_owned(),
                    vec![id],
                    vec![token.to_owned()],
                )
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(VocabularyError::build)?;
        let processing = TemplateProcessing::builder()
            .try_single(pieces.collect::<Vec<_>>())
            .map_err(VocabularyError::Build)?
            .special_tokens(special)
            .build()
            .map_err(|error| VocabularyError::Build(error.to_string()))?;
        Ok(Some(processing.into()))
    }
}

/// A merge is written `left right`; a half may itself begin with a space, so split after it.
fn merge_halves(merge: &str) -> Option<(&str, &str)> {
    let split = merge.bytes().skip(1).position(|byte| byte == b' ')? + 1;
    Some((&merge[..split], &merge[split + 1..]))
}

/// Whether a vocabulary of this kind frames a text when the file does not say.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) begin: bool,
    pub(super) end: bool,
}

/// What the builder of one vocabulary kind hands back.
pub(super) struct TokenizerParts {
    pub(super) tokenizer: ModelTokenizer,
    pub(super) spelling: token_bytes::Spelling,
    pub(super) leading_space: token_bytes::LeadingSpace,
    pub(super) frame: Frame,
}

#[cfg(test)]
mod tests;
