//! Builds the tokenisers of GGUF files of model `llama` and `gemma4`: BPE over characters, with
//! `▁` for spaces and single bytes for what the vocabulary cannot spell.
//!
//! A `llama` file has scores in place of merges. A SentencePiece model of type BPE merges the pair
//! whose concatenation scores best, so each way to cut a token in two tokens is a merge, ranked by
//! that token's score. (A Unigram model cannot be told apart in GGUF and is treated alike.)

use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence};

use super::bpe::{Bpe, Merge, Merges, Texts};
use super::token_bytes::{LeadingSpace, Spelling};
use super::token_model::{ModelTokenizer, TokenModel};
use super::vocabulary::{Frame, GgufVocabulary, TokenType, TokenizerParts, VocabularyError};
use crate::request::TokenId;

/// Longer pieces get no merges: the longest of known vocabularies are runs of some tens of spaces.
const MERGED_CHARS_MAX: usize = 256;

/// Model `llama`: merges follow from the scores.
pub(super) fn build_from_scores(vocabulary: &GgufVocabulary) -> Result<TokenizerParts, VocabularyError> {
    if vocabulary.scores.is_empty() {
        return Err(VocabularyError::Missing("scores"));
    }
    let texts = vocabulary.texts();
    let merges = merges_by_score(vocabulary, &texts);
    let prefix = match vocabulary.add_space_prefix {
        Some(false) => LeadingSpace::Own,
        _ => LeadingSpace::Added,
    };
    build(vocabulary, Bpe::new(texts, merges), prefix)
}

/// Model `gemma4`: the file lists the merges.
pub(super) fn build_from_merges(vocabulary: &GgufVocabulary) -> Result<TokenizerParts, VocabularyError> {
    let texts = vocabulary.texts();
    let merges = vocabulary.read_merges(&texts)?;
    let prefix = match vocabulary.add_space_prefix {
        Some(true) => LeadingSpace::Added,
        _ => LeadingSpace::Own,
    };
    build(vocabulary, Bpe::new(texts, merges), prefix)
}

fn build(
    vocabulary: &GgufVocabulary,
    model: Bpe,
    leading_space: LeadingSpace,
) -> Result<TokenizerParts, VocabularyError> {
    let has_bytes = model.texts().id("<0x00>").is_some();
    let unknown = vocabulary.token(vocabulary.unk);
    let model = model.byte_fallback(has_bytes).fuse_unknown(true).unknown(unknown);
    let mut tokenizer = ModelTokenizer::new(TokenModel::Bpe(model));

    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    if leading_space == LeadingSpace::Added {
        normalizers.push(Prepend::new("▁".to_owned()).into());
    }
    normalizers.push(Replace::new(" ", "▁").map_err(VocabularyError::build)?.into());
    tokenizer.with_normalizer(Some(Sequence::new(normalizers))).map_err(VocabularyError::build)?;
    Ok(TokenizerParts {
        tokenizer,
        spelling: Spelling::Metaspace,
        leading_space,
        frame: Frame { begin: true, end: false },
    })
}

fn merges_by_score(vocabulary: &GgufVocabulary, texts: &Texts) -> Merges {
    let mut merged: Vec<usize> = (0..vocabulary.tokens.len())
        .filter(|id| matches!(vocabulary.token_type(*id), TokenType::Normal | TokenType::UserDefined))
        .filter(|id| vocabulary.tokens[*id].chars().take(MERGED_CHARS_MAX + 1).count() <= MERGED_CHARS_MAX)
        .collect();
    // The sort is stable: equal scores keep the order of the vocabulary.
    merged.sort_by(|left, right| vocabulary.scores[*right].total_cmp(&vocabulary.scores[*left]));

    let mut merges = Vec::new();
    let mut cuts: Vec<(TokenId, TokenId)> = Vec::new();
    for id in merged {
        let token = vocabulary.tokens[id].as_str();
        cuts.clear();
        for (at, _) in token.char_indices().skip(1) {
            if let (Some(left), Some(right)) = (texts.id(&token[..at]), texts.id(&token[at..])) {
                cuts.push((left, right));
            }
        }
        cuts.sort_unstable();
        // Of equal tokens the first counts.
        let whole = texts.id(token).expect("all tokens are in it");
        merges.extend(cuts.iter().map(|(left, right)| Merge { left: *left, right: *right, whole }));
    }
    Merges::new(merges)
}
