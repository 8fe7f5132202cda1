//! What cuts pieces of text into tokens: Ostro's own byte-pair encoding, or one of the library's models.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::tokenizer::Model;
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Token, TokenizerImpl,
};

use super::bpe::{Bpe, FileBpe, FileKind};
use crate::request::TokenId;

/// The library's tokeniser around such a model.
pub(super) type ModelTokenizer =
    TokenizerImpl<TokenModel, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

#[derive(Debug)]
pub(super) enum TokenModel {
    Bpe(Bpe),
    Library(ModelWrapper),
}

impl Model for TokenModel {
    type Trainer = TrainerWrapper;

    /// Tokens of `Bpe` do not carry their text, which nothing asks for.
    fn tokenize(&self, text: &str) -> tokenizers::Result<Vec<Token>> {
        match self {
            TokenModel::Bpe(model) => {
                let mut end = 0;
                let token = |(id, bytes)| {
                    let begin = end;
                    end += bytes;
                    Token::new(id, String::new(), (begin, end))
                };
                Ok(model.pieces(text)?.into_iter().map(token).collect())
            }
            TokenModel::Library(model) => model.tokenize(text),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<TokenId> {
        match self {
            TokenModel::Bpe(model) => model.texts().id(token),
            TokenModel::Library(model) => model.token_to_id(token),
        }
    }

    fn id_to_token(&self, id: TokenId) -> Option<String> {
        match self {
            TokenModel::Bpe(model) => model.texts().text(id).map(str::to_owned),
            TokenModel::Library(model) => model.id_to_token(id),
        }
    }

    fn get_vocab(&self) -> HashMap<String, TokenId> {
        match self {
            TokenModel::Bpe(model) => model.texts().iter().map(|(id, text)| (text.to_owned(), id)).collect(),
            TokenModel::Library(model) => model.get_vocab(),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            TokenModel::Bpe(model) => model.texts().len(),
            TokenModel::Library(model) => model.get_vocab_size(),
        }
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        match self {
            TokenModel::Bpe(_) => Err("a vocabulary is read only".into()),
            TokenModel::Library(model) => model.save(folder, prefix),
        }
    }

    fn get_trainer(&self) -> TrainerWrapper {
        match self {
            TokenModel::Bpe(_) => BpeTrainer::default().into(),
            TokenModel::Library(model) => model.get_trainer(),
        }
    }
}

impl<'de> Deserialize<'de> for TokenModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        let is_bpe = serde_json::from_str::<FileKind>(text).is_ok_and(|kind| kind.is_bpe());
        if !is_bpe {
            return serde_json::from_str(text).map(TokenModel::Library).map_err(D::Error::custom);
        }
        let file: FileBpe = serde_json::from_str(text).map_err(D::Error::custom)?;
        file.build().map(TokenModel::Bpe).map_err(D::Error::custom)
    }
}
