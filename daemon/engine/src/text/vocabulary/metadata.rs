//! Takes the vocabulary out of a GGUF file's metadata. Checks types only; the numbers are checked
//! where the tokeniser is built.

use super::GgufVocabulary;
use crate::request::TokenId;
use crate::weights::gguf::{Metadata, MetadataError};

const TEMPLATE_KEY: &str = "tokenizer.chat_template";

impl GgufVocabulary {
    pub fn read(metadata: &Metadata) -> Result<Self, MetadataError> {
        let model_key = "tokenizer.ggml.model";
        let missing = || MetadataError::Missing(model_key.to_owned());
        let model = metadata.str(model_key)?.ok_or_else(missing)?.to_owned();
        let tokens = strings(metadata, "tokenizer.ggml.tokens")?;
        let special = |key, default| special_id(metadata, key, (&model, &tokens), default);
        Ok(GgufVocabulary {
            pre: pre_tokenizer(metadata)?.map(str::to_owned),
            scores: metadata.floats("tokenizer.ggml.scores")?.unwrap_or_default(),
            token_types: token_types(metadata)?,
            merges: strings(metadata, "tokenizer.ggml.merges")?,
            bos: special("tokenizer.ggml.bos_token_id", (1, "<s>"))?,
            eos: special("tokenizer.ggml.eos_token_id", (2, "</s>"))?,
            eot: id(metadata, "tokenizer.ggml.eot_token_id")?,
            eom: id(metadata, "tokenizer.ggml.eom_token_id")?,
            unk: special("tokenizer.ggml.unknown_token_id", (0, "<unk>"))?,
            pad: id(metadata, "tokenizer.ggml.padding_token_id")?,
            // The key is misspelt in the format.
            sep: id(metadata, "tokenizer.ggml.seperator_token_id")?,
            cls: id(metadata, "tokenizer.ggml.cls_token_id")?,
            add_bos: metadata.bool("tokenizer.ggml.add_bos_token")?,
            add_eos: metadata.bool("tokenizer.ggml.add_eos_token")?,
            add_space_prefix: metadata.bool("tokenizer.ggml.add_space_prefix")?,
            chat_template: metadata.str(TEMPLATE_KEY)?.map(str::to_owned),
            named_chat_templates: named_templates(metadata)?,
            model,
            tokens,
        })
    }
}

/// Files from before May 2024 do not name it; all models of this architecture had the same one then.
fn pre_tokenizer(metadata: &Metadata) -> Result<Option<&str>, MetadataError> {
    let named = metadata.str("tokenizer.ggml.pre")?;
    let is_qwen2 = metadata.str("general.architecture")? == Some("qwen2");
    Ok(named.or(is_qwen2.then_some("qwen2")))
}

fn strings(metadata: &Metadata, key: &str) -> Result<Vec<String>, MetadataError> {
    let strings = metadata.strings(key)?;
    Ok(strings.into_iter().flat_map(|strings| strings.iter()).map(str::to_owned).collect())
}

fn token_types(metadata: &Metadata) -> Result<Vec<u8>, MetadataError> {
    let types = metadata.ints("tokenizer.ggml.token_type")?;
    // A number no token type has is as good as any other such number.
    Ok(types.map(|types| types.map(|value| u8::try_from(value).unwrap_or(0)).collect()).unwrap_or_default())
}

/// Early files of `llama` vocabularies do not name what all of them have at the same ids.
fn special_id(
    metadata: &Metadata,
    key: &str,
    (model, tokens): (&str, &[String]),
    (default, text): (TokenId, &str),
) -> Result<Option<TokenId>, MetadataError> {
    let is_named = metadata.keys().any(|named| named == key);
    let has_default = model == "llama" && tokens.get(default as usize).is_some_and(|token| token == text);
    if is_named || !has_default { id(metadata, key) } else { Ok(Some(default)) }
}

/// All ones means that there is none.
fn id(metadata: &Metadata, key: &str) -> Result<Option<TokenId>, MetadataError> {
    let Some(value) = metadata.uint(key)? else { return Ok(None) };
    let range = || MetadataError::Range {
        key: key.to_owned(),
        value: value.to_string(),
        allowed: "a token id".to_owned(),
    };
    let id = TokenId::try_from(value).map_err(|_| range())?;
    Ok(Some(id).filter(|id| *id != TokenId::MAX))
}

fn named_templates(metadata: &Metadata) -> Result<Vec<(String, String)>, MetadataError> {
    let mut named = Vec::new();
    for key in metadata.keys() {
        let Some(name) = key.strip_prefix(TEMPLATE_KEY).and_then(|rest| rest.strip_prefix('.')) else {
            continue;
        };
        named.extend(metadata.str(key)?.map(|source| (name.to_owned(), source.to_owned())));
    }
    Ok(named)
}
