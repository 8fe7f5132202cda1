//! Log probabilities: the chat form and the older form of completions.
//!
//! Both look texts up while they are written: until then a likely token is eight bytes, where its text and bytes take a
//! hundred.

use std::sync::Arc;

use ostro_engine::request::{TokenId, TokenLogprobs};
use ostro_engine::text::TextModel;
use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};
use utoipa::ToSchema;

/// A token of an answer as the engine gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredToken {
    pub id: TokenId,
    pub logprobs: TokenLogprobs,
    /// Characters of the answer before it.
    pub text_offset: usize,
}

/// Scored tokens and what tells their texts.
#[derive(Clone, Debug)]
pub struct ScoredTokens {
    pub text: Arc<TextModel>,
    pub tokens: Vec<ScoredToken>,
}

#[derive(Clone, Debug, serde::Serialize, ToSchema)]
pub struct ChatLogprobs {
    #[schema(value_type = Vec<TokenLogprob>)]
    pub content: ScoredTokens,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, ToSchema)]
pub struct TokenLogprob {
    /// The token's text; bytes that are not UTF-8 on their own show as U+FFFD.
    pub token: String,
    pub logprob: f32,
    /// The token's exact bytes.
    pub bytes: Vec<u8>,
    /// The likeliest tokens at this place, best first.
    pub top_logprobs: Vec<TopLogprob>,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, ToSchema)]
pub struct TopLogprob {
    pub token: String,
    pub logprob: f32,
    pub bytes: Vec<u8>,
}

impl Serialize for ScoredTokens {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.tokens.iter().map(|token| self.spelled(token)))
    }
}

impl ScoredTokens {
    fn spelled(&self, token: &ScoredToken) -> TokenLogprob {
        let likely = |id, logprob| {
            let bytes = self.text.token_bytes(id).to_vec();
            TopLogprob { token: String::from_utf8_lossy(&bytes).into_owned(), logprob: shown(logprob), bytes }
        };
        let TopLogprob { token: text, bytes, logprob } = likely(token.id, token.logprobs.logprob);
        let top_logprobs = token.logprobs.top.iter().map(|&(id, logprob)| likely(id, logprob)).collect();
        TokenLogprob { token: text, logprob, bytes, top_logprobs }
    }

    fn completion_text(&self, id: TokenId) -> String {
        completion_token_text(self.text.token_bytes(id))
    }

    fn top_by_text(&self, token: &ScoredToken) -> TopByText {
        let drawn = (token.id, token.logprobs.logprob);
        let mut top: Vec<(String, f32)> = Vec::with_capacity(token.logprobs.top.len() + 1);
        for &(id, logprob) in token.logprobs.top.iter().chain([&drawn]) {
            let text = self.completion_text(id);
            if top.iter().all(|(other, _)| *other != text) {
                top.push((text, shown(logprob)));
            }
        }
        TopByText(top)
    }
}

/// JSON has no infinity; OpenAI shows what cannot happen as -9999.
fn shown(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { -9999.0 }
}

/// The form of completions, see [`CompletionLogprobsSchema`].
#[derive(Clone, Debug)]
pub struct CompletionLogprobs(pub ScoredTokens);

/// Parallel arrays, one entry a token.
#[derive(ToSchema)]
#[schema(as = CompletionLogprobs)]
#[allow(dead_code)] // read by the derive only
pub struct CompletionLogprobsSchema {
    tokens: Vec<String>,
    /// `None` for the first prompt token under `echo`.
    token_logprobs: Vec<Option<f32>>,
    /// The likeliest tokens, best first, and the drawn one where it is none of them.
    top_logprobs: Vec<std::collections::HashMap<String, f32>>,
    /// Where each token begins in the text, in characters.
    text_offset: Vec<usize>,
}

impl Serialize for CompletionLogprobs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let scored = &self.0;
        let tokens = || scored.tokens.iter();
        let mut arrays = serializer.serialize_struct("CompletionLogprobs", 4)?;
        arrays.serialize_field("tokens", &Each(|| tokens().map(|token| scored.completion_text(token.id))))?;
        arrays.serialize_field(
            "token_logprobs",
            &Each(|| tokens().map(|token| shown(token.logprobs.logprob))),
        )?;
        arrays.serialize_field("top_logprobs", &Each(|| tokens().map(|token| scored.top_by_text(token))))?;
        arrays.serialize_field("text_offset", &Each(|| tokens().map(|token| token.text_offset)))?;
        arrays.end()
    }
}

/// An array whose items are made one by one.
struct Each<F>(F);

impl<I: Iterator<Item: Serialize>, F: Fn() -> I> Serialize for Each<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// A map from token text to log probability that keeps its order. Equal texts appear once, the likeliest.
#[derive(Clone, Debug, PartialEq)]
struct TopByText(Vec<(String, f32)>);

impl Serialize for TopByText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (text, logprob) in &self.0 {
            map.serialize_entry(text, logprob)?;
        }
        map.end()
    }
}

/// How the older form writes a token that is not UTF-8 on its own: `bytes:\xe2\x80`.
fn completion_token_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold("bytes:".to_owned(), |text, byte| text + &format!("\\x{byte:02x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_text_are_spelled() {
        assert_eq!(completion_token_text(" é".as_bytes()), " é");
        assert_eq!(completion_token_text(&[0xe2, 0x80]), "bytes:\\xe2\\x80");
    }

    #[test]
    fn top_logprobs_are_one_json_object_in_order() {
        let top = TopByText(vec![("b".into(), -0.5), ("a".into(), -1.0)]);
        assert_eq!(serde_json::to_string(&top).unwrap(), r#"{"b":-0.5,"a":-1.0}"#);
    }
}
