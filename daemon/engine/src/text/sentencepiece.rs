//! Builds the tokenisers of GGUF files of model `llama` and `gemma4`: BPE over characters, with
//! `▁` for spaces and single bytes for what the vocabulary cannot spell.
//!
//! A `llama` file has scores in place of merges. A SentencePiece model of type BPE merges the pair
//! whose concatenation scores best, so each way to cut a token in two tokens is a merge, ranked by
//! that token's score. (A Unigram model cannot be told apart in GGUF and is treated alike.)

use std::collections::HashMap;

use tokenizers::DecoderWrapper;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as DecoderSequence;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence};

use super::token_bytes::{LeadingSpace, Spelling};
use super::vocabulary::{Frame, GgufVocabulary, TokenType, TokenizerParts, VocabularyError};
use crate::request::TokenId;

/// Longer pieces get no merges: the longest of known vocabularies are runs of some tens of spaces.
const MERGED_CHARS_MAX: usize = 256;

/// Model `llama`: merges follow from the scores.
pub(super) fn build_from_scores(vocabulary: &GgufVocabulary) -> Result<TokenizerParts, VocabularyError> {
    if vocabulary.scores.is_empty() {
        return Err(VocabularyError::Missing("scores"));
    }
    let ids = vocabulary.ids();
    let merges = merges_by_score(vocabulary, &ids);
    let prefix = match vocabulary.add_space_prefix {
        Some(false) => LeadingSpace::Own,
        _ => LeadingSpace::Added,
    };
    build(vocabulary, ids, merges, prefix)
}

/// Model `gemma4`: the file lists the merges.
pub(super) fn build_from_merges(vocabulary: &GgufVocabulary) -> Result<TokenizerParts, VocabularyError> {
    let ids = vocabulary.ids();
    let merges = vocabulary.merge_pairs(&ids)?;
    let prefix = match vocabulary.add_space_prefix {
        Some(true) => LeadingSpace::Added,
        _ => LeadingSpace::Own,
    };
    build(vocabulary, ids, merges, prefix)
}

fn build(
    vocabulary: &GgufVocabulary,
    ids: HashMap<&str, TokenId>,
    merges: Merges,
    leading_space: LeadingSpace,
) -> Result<TokenizerParts, VocabularyError> {
    let vocab: Vocab = ids.into_iter().map(|(token, id)| (token.to_owned(), id)).collect();
    let mut model = BPE::builder()
        .byte_fallback(vocab.contains_key("<0x00>"))
        .fuse_unk(true)
        .vocab_and_merges(vocab, merges);
    if let Some(unk) = vocabulary.token(vocabulary.unk) {
        model = model.unk_token(unk.to_owned());
    }
    let mut tokenizer = tokenizers::Tokenizer::new(model.build().map_err(VocabularyError::build)?);

    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    if leading_space == LeadingSpace::Added {
        normalizers.push(Prepend::new("▁".to_owned()).into());
    }
    normalizers.push(Replace::new(" ", "▁").map_err(VocabularyError::build)?.into());
    tokenizer.with_normalizer(Some(Sequence::new(normalizers))).map_err(VocabularyError::build)?;
    let decoders: Vec<DecoderWrapper> = vec![
        Replace::new("▁", " ").map_err(VocabularyError::build)?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
    ];
    tokenizer.with_decoder(Some(DecoderSequence::new(decoders)));
    Ok(TokenizerParts {
        tokenizer,
        spelling: Spelling::Metaspace,
        leading_space,
        frame: Frame { begin: true, end: false },
    })
}

fn merges_by_score(vocabulary: &GgufVocabulary, ids: &HashMap<&str, TokenId>) -> Merges {
    let mut merged: Vec<usize> = (0..vocabulary.tokens.len())
        .filter(|id| matches!(vocabulary.token_type(*id), TokenType::Normal | TokenType::UserDefined))
        .filter(|id| vocabulary.tokens[*id].chars().take(MERGED_CHARS_MAX + 1).count() <= MERGED_CHARS_MAX)
        .collect();
    // The sort is stable: equal scores keep the order of the vocabulary.
    merged.sort_by(|left, right| vocabulary.scores[*right].total_cmp(&vocabulary.scores[*left]));

    let mut merges = Merges::new();
    let mut cuts: Vec<(TokenId, TokenId, usize)> = Vec::new();
    for id in merged {
        let token = vocabulary.tokens[id].as_str();
        cuts.clear();
        for (at, _) in token.char_indices().skip(1) {
            if let (Some(left), Some(right)) = (ids.get(&token[..at]), ids.get(&token[at..])) {
                cuts.push((*left, *right, at));
            }
        }
        cuts.sort_unstable();
        merges.extend(cuts.iter().map(|(_, _, at)| (token[..*at].to_owned(), token[*at..].to_owned())));
    }
    merges
}
