//! Builds the tokeniser of a GGUF file of model `gpt2`: byte-level BPE.

use super::bpe::Bpe;
use super::pre_tokenizer::scheme_named;
use super::token_bytes::{LeadingSpace, Spelling};
use super::token_model::{ModelTokenizer, TokenModel};
use super::vocabulary::{Frame, GgufVocabulary, TokenizerParts, VocabularyError};

pub(super) fn build(vocabulary: &GgufVocabulary) -> Result<TokenizerParts, VocabularyError> {
    if vocabulary.pre.is_none() {
        tracing::warn!(
            "the file has no tokenizer.ggml.pre: texts are cut as before May 2024, which may not be as the \
             model's own tokenizer does; convert the model anew"
        );
    }
    let scheme = scheme_named(vocabulary.pre.as_deref().unwrap_or("default"))?;
    let texts = vocabulary.texts();
    let merges = vocabulary.read_merges(&texts)?;
    let model = Bpe::new(texts, merges).ignore_merges(scheme.ignore_merges);

    let mut tokenizer = ModelTokenizer::new(TokenModel::Bpe(model));
    tokenizer.with_normalizer(scheme.normalizer()).map_err(VocabularyError::build)?;
    tokenizer.with_pre_tokenizer(Some(scheme.pre_tokenizer()?));
    Ok(TokenizerParts {
        tokenizer,
        spelling: Spelling::ByteLevel,
        leading_space: LeadingSpace::Own,
        frame: Frame { begin: scheme.add_bos, end: false },
    })
}
