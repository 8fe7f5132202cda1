//! The fields that chat and completion requests share: how to choose tokens, when to stop, how to deliver.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use utoipa::ToSchema;

use super::list::{List, Strings};

/// Entries of `logit_bias` a request may hold.
pub const LOGIT_BIAS_MAX: usize = 4096;
/// Stop strings a request may hold.
pub const STOP_STRINGS_MAX: usize = 64;
/// Entries of `stop_token_ids` a request may hold.
pub const STOP_TOKENS_MAX: usize = 256;
/// Entries of `dry_sequence_breakers` a request may hold.
pub const DRY_BREAKERS_MAX: usize = 128;

#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct GenerationFields {
    /// Name or alias of a loaded model; `default` or nothing is the default model.
    pub model: Option<String>,
    /// 0 to 2; 0 is greedy. The model's own default when absent, else 1.
    pub temperature: Option<f64>,
    /// Keep the smallest set of tokens whose probability reaches this, above 0 to 1.
    pub top_p: Option<f64>,
    /// Keep this many likeliest tokens; 0 or -1 keeps all.
    pub top_k: Option<i64>,
    /// Drop tokens less likely than this times the likeliest, 0 to 1.
    pub min_p: Option<f64>,
    /// Above 0 to 10; 1 is off. Counts prompt and answer.
    pub repetition_penalty: Option<f64>,
    /// -2 to 2, once for each token already in the answer.
    pub presence_penalty: Option<f64>,
    /// -2 to 2, for each occurrence in the answer.
    pub frequency_penalty: Option<f64>,
    /// Above 0 turns on the DRY penalty against repetition.
    pub dry_multiplier: Option<f64>,
    /// 1 to 8; 1.75 by default.
    pub dry_base: Option<f64>,
    /// Repetitions up to this many tokens are free; 2 by default.
    pub dry_allowed_length: Option<u32>,
    /// Texts that end the search for a repetition; newline, colon, quote and asterisk by default.
    #[schema(value_type = Option<Vec<String>>, max_items = 128)]
    pub dry_sequence_breakers: Option<List<String, DRY_BREAKERS_MAX>>,
    /// Added to the logits of these token ids, -100 to 100.
    #[schema(value_type = Option<std::collections::HashMap<String, f64>>)]
    pub logit_bias: Option<LogitBias>,
    /// The same seed gives the same tokens whatever else runs.
    pub seed: Option<i64>,
    /// Number of choices, 1 to 128.
    pub n: Option<u64>,
    /// Tokens to generate at most.
    pub max_tokens: Option<u64>,
    /// The newer name of `max_tokens`.
    pub max_completion_tokens: Option<u64>,
    /// The model's end tokens are not chosen before this many tokens; not above `max_tokens`, nor above what the context
    /// leaves behind the prompt. Stop strings are looked for in what follows those tokens.
    pub min_tokens: Option<u64>,
    /// One string or up to 64 that end the answer and are not part of it.
    #[schema(value_type = Option<StopSchema>, inline)]
    pub stop: Option<Strings<STOP_STRINGS_MAX>>,
    /// Tokens that end the answer and whose text is not part of it.
    #[schema(value_type = Option<Vec<u32>>, max_items = 256)]
    pub stop_token_ids: Option<List<u32, STOP_TOKENS_MAX>>,
    /// Generate on past the model's end tokens.
    pub ignore_eos: Option<bool>,
    /// Answer as server-sent events.
    pub stream: Option<bool>,
    pub stream_options: Option<StreamOptions>,
    /// Add `prompt_token_ids` to the answer and `token_ids` to each choice.
    pub return_token_ids: Option<bool>,
    /// Requests with different salts share no cached prefixes, but for what the chat template begins all conversations with.
    pub cache_salt: Option<String>,
}

/// What the document says of `stop`.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(description = "A string or an array of strings.")]
#[allow(dead_code)] // read by the derive only
pub enum StopSchema {
    #[schema(title = "one")]
    One(String),
    #[schema(title = "several")]
    Several(Vec<String>),
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamOptions {
    /// End the stream with a chunk that holds the token counts.
    pub include_usage: Option<bool>,
    /// With `include_usage`: the counts so far in all other chunks too, where `usage` is null otherwise.
    pub continuous_usage_stats: Option<bool>,
    /// Accepted for OpenAI clients: chunks are never padded.
    pub include_obfuscation: Option<bool>,
}

/// `{"TOKEN ID": bias}`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogitBias(pub Vec<(u32, f64)>);

impl<'de> Deserialize<'de> for LogitBias {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LogitBiasVisitor)
    }
}

struct LogitBiasVisitor;

impl<'de> Visitor<'de> for LogitBiasVisitor {
    type Value = LogitBias;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of at most {LOGIT_BIAS_MAX} token ids and their biases")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LogitBias, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let token =
                token_id(&key).ok_or_else(|| A::Error::custom(format_args!("{key:?} is not a token id")))?;
            if entries.len() == LOGIT_BIAS_MAX {
                return Err(A::Error::custom(format_args!("more than {LOGIT_BIAS_MAX} token ids")));
            }
            entries.push((token, map.next_value()?));
        }
        entries.sort_by_key(|(token, _)| *token);
        match entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(A::Error::custom(format_args!("token id {} appears twice", pair[0].0))),
            None => Ok(LogitBias(entries)),
        }
    }
}

/// As JSON writes numbers: `+1` and `01` are none.
fn token_id(key: &str) -> Option<u32> {
    key.parse::<u32>().ok().filter(|token| token.to_string() == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_is_for_one_token_id() {
        let bias = |json| serde_json::from_str::<LogitBias>(json).map_err(|e| e.to_string());
        assert_eq!(bias(r#"{"9":-1,"3":2.5}"#).unwrap().0, [(3, 2.5), (9, -1.0)]);
        for (json, message) in [
            (r#"{"x":1}"#, "\"x\" is not a token id"),
            (r#"{"-1":1}"#, "\"-1\" is not a token id"),
            (r#"{"+1":1}"#, "\"+1\" is not a token id"),
            (r#"{"01":1}"#, "\"01\" is not a token id"),
            (r#"{"99999999999":1}"#, "is not a token id"),
            (r#"{"1":1,"1":2}"#, "token id 1 appears twice"),
            (r#"{"1":"x"}"#, "invalid type: string"),
        ] {
            let error = bias(json).unwrap_err();
            assert!(error.contains(message), "{json}: {error}");
        }
    }
}
