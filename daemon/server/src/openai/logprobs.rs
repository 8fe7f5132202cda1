//! Log probabilities: the chat form and the older form of completions.

use serde::ser::{Serialize, SerializeMap, Serializer};
use utoipa::ToSchema;

#[derive(Clone, Debug, Default, serde::Serialize, ToSchema)]
pub struct ChatLogprobs {
    pub content: Vec<TokenLogprob>,
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

/// Parallel arrays, one entry a token.
#[derive(Clone, Debug, Default, serde::Serialize, ToSchema)]
pub struct CompletionLogprobs {
    pub tokens: Vec<String>,
    /// `None` for the first prompt token under `echo`.
    pub token_logprobs: Vec<Option<f32>>,
    #[schema(value_type = Vec<std::collections::HashMap<String, f32>>)]
    pub top_logprobs: Vec<TopByText>,
    /// Where each token begins in the text, in characters.
    pub text_offset: Vec<usize>,
}

/// A map from token text to log probability that keeps its order. Equal texts appear once, the likeliest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopByText(pub Vec<(String, f32)>);

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
pub fn completion_token_text(bytes: &[u8]) -> String {
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
