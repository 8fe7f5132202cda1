//! The `model` of a `tokenizer.json`, where it is byte-pair encoding as `Bpe` does it.

use std::collections::HashMap;

use serde::Deserialize;
use thiserror::Error;

use super::{Bpe, Merges, Texts};
use crate::request::TokenId;

/// What tells whether a model is `Bpe`'s.
#[derive(Debug, Deserialize)]
pub(in crate::text) struct FileKind {
    r#type: Option<String>,
    dropout: Option<f32>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(in crate::text) struct FileBpe {
    unk_token: Option<String>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
    vocab: HashMap<String, TokenId>,
    merges: Vec<Halves>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Halves {
    Pair(String, String),
    /// `left right`, in older files.
    Line(String),
}

#[derive(Debug, Error)]
#[error("merge {index} ({merge:?}) is not two tokens whose concatenation is a token")]
pub(in crate::text) struct BadMerge {
    index: usize,
    merge: String,
}

impl FileKind {
    pub(in crate::text) fn is_bpe(&self) -> bool {
        let is_empty = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
        self.r#type.as_deref() == Some("BPE")
            && self.dropout.is_none_or(|dropout| dropout == 0.0)
            && is_empty(&self.continuing_subword_prefix)
            && is_empty(&self.end_of_word_suffix)
    }
}

impl FileBpe {
    pub(in crate::text) fn build(self) -> Result<Bpe, BadMerge> {
        let mut tokens: Vec<(TokenId, &str)> =
            self.vocab.iter().map(|(text, id)| (*id, text.as_str())).collect();
        tokens.sort_unstable();
        let texts = Texts::new(tokens);
        let merges = self.merges.iter().filter(|halves| !halves.is_version()).enumerate();
        let merges = merges.map(|(index, halves)| {
            let bad = || BadMerge { index, merge: halves.shown() };
            halves.halves().and_then(|(left, right)| texts.merge(left, right)).ok_or_else(bad)
        });
        let merges = Merges::new(merges.collect::<Result<_, _>>()?);
        Ok(Bpe::new(texts, merges)
            .unknown(self.unk_token.as_deref())
            .fuse_unknown(self.fuse_unk.unwrap_or(false))
            .byte_fallback(self.byte_fallback.unwrap_or(false))
            .ignore_merges(self.ignore_merges.unwrap_or(false)))
    }
}

impl Halves {
    /// The first line of a `merges.txt`, which older files copied.
    fn is_version(&self) -> bool {
        matches!(self, Halves::Line(line) if line.starts_with("#version"))
    }

    fn halves(&self) -> Option<(&str, &str)> {
        match self {
            Halves::Pair(left, right) => Some((left, right)),
            Halves::Line(line) => line.split_once(' ').filter(|(_, right)| !right.contains(' ')),
        }
    }

    fn shown(&self) -> String {
        let text = match self {
            Halves::Pair(left, right) => format!("{left} {right}"),
            Halves::Line(line) => line.clone(),
        };
        text.chars().take(80).collect()
    }
}
