//! Builds the tokeniser of a GGUF file of model `gpt2`: byte-level BPE.

use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, Vocab};

use super::pre_tokenizer::scheme_named;
use super::token_bytes::{LeadingSpace, Spelling};
use super::vocabulary::{Frame, GgufVocabulary, TokenizerParts, VocabularyError};

pub(super) fn build(vocabulary: &GgufVocabulary) -> Result<TokenizerParts, VocabularyError> {
    let scheme = scheme_named(vocabulary.pre.as_deref().unwrap_or("default"))?;
    let ids = vocabulary.ids();
    let merges = vocabulary.merge_pairs(&ids)?;
    let vocab: Vocab = ids.into_iter().map(|(token, id)| (token.to_owned(), id)).collect();
    let model = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .ignore_merges(scheme.ignore_merges)
        .build()
        .map_err(VocabularyError::build)?;

    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer.with_normalizer(scheme.normalizer()).map_err(VocabularyError::build)?;
    tokenizer.with_pre_tokenizer(Some(scheme.pre_tokenizer()?));
    tokenizer.with_decoder(Some(ByteLevel::new(false, true, false)));
    Ok(TokenizerParts {
        tokenizer,
        spelling: Spelling::ByteLevel,
        leading_space: LeadingSpace::Own,
        frame: Frame { begin: scheme.add_bos, end: false },
    })
}
