//! Builds the tokeniser of a GGUF file of model `bert`: WordPiece.
//!
//! GGUF spells word beginnings with `▁` and continuations bare; WordPiece itself spells beginnings
//! bare and continuations with `##`. The vocabulary is turned back before use.

use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

use super::token_bytes::{LeadingSpace, Spelling};
use super::token_model::{ModelTokenizer, TokenModel};
use super::vocabulary::{Frame, GgufVocabulary, TokenType, TokenizerParts, VocabularyError};

const WORD_CHARS_MAX: usize = 100;

pub(super) fn build(vocabulary: &GgufVocabulary) -> Result<TokenizerParts, VocabularyError> {
    let unk = vocabulary.token(vocabulary.unk).ok_or(VocabularyError::Missing("unknown token"))?;
    let spelt = vocabulary.tokens.iter().enumerate().rev();
    let vocab = spelt.map(|(id, token)| (spell(vocabulary, id, token), id as u32)).collect();
    let model = WordPiece::builder()
        .vocab::<tokenizers::models::bpe::Vocab>(vocab)
        .unk_token(unk.to_owned())
        .continuing_subword_prefix("##".to_owned())
        .max_input_chars_per_word(WORD_CHARS_MAX)
        .build()
        .map_err(VocabularyError::build)?;

    let mut tokenizer = ModelTokenizer::new(TokenModel::Library(model.into()));
    tokenizer
        .with_normalizer(Some(BertNormalizer::new(true, true, None, is_uncased(vocabulary))))
        .map_err(VocabularyError::build)?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    Ok(TokenizerParts {
        tokenizer,
        spelling: Spelling::Metaspace,
        leading_space: LeadingSpace::Added,
        frame: Frame { begin: true, end: true },
    })
}

fn spell(vocabulary: &GgufVocabulary, id: usize, token: &str) -> String {
    match (vocabulary.token_type(id), token.strip_prefix('▁')) {
        (TokenType::Normal | TokenType::Unused, Some(word)) => word.to_owned(),
        (TokenType::Normal | TokenType::Unused, None) => format!("##{token}"),
        _ => token.to_owned(),
    }
}

/// GGUF does not say whether the model lowers its input; a vocabulary without capitals tells.
fn is_uncased(vocabulary: &GgufVocabulary) -> bool {
    let words = vocabulary.tokens.iter().enumerate();
    let mut words = words.filter(|(id, _)| vocabulary.token_type(*id) == TokenType::Normal);
    !words.any(|(_, token)| token.bytes().any(|byte| byte.is_ascii_uppercase()))
}
