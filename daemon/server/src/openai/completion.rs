//! `/v1/completions`.

use std::fmt;
use std::mem::discriminant;
use std::sync::Arc;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::chat::FinishReason;
use super::logprobs::{CompletionLogprobs, CompletionLogprobsSchema};
use super::usage::Usage;

/// Tokens that all prompts of a request may hold together.
pub const PROMPT_TOKENS_MAX: usize = 1 << 20;
/// Prompts a request may hold.
pub const PROMPTS_MAX: usize = 256;

/// The fields of a completion request beside those of [`super::generation::GenerationFields`].
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct CompletionFields {
    #[schema(value_type = PromptSchema)]
    pub prompt: Option<Prompts>,
    /// Begin the text with the prompt; special tokens of one that came as tokens are spelled out.
    pub echo: Option<bool>,
    /// Report the log probability of each token, also of those that ended the answer and are not in its text, and of this
    /// many likeliest ones, 0 to 20.
    pub logprobs: Option<u64>,
    /// Accepted when equal to `n`.
    pub best_of: Option<u64>,
}

/// What the document says of [`Prompts`].
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(title = "Prompt", description = "A text, token ids, or an array of texts or of token ids.")]
#[allow(dead_code)] // read by the derive only
pub enum PromptSchema {
    #[schema(title = "text")]
    Text(String),
    #[schema(title = "tokens")]
    Tokens(Vec<u32>),
    #[schema(title = "texts")]
    Texts(Vec<String>),
    #[schema(title = "token lists")]
    TokenLists(Vec<Vec<u32>>),
}

/// One or more prompts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompts(pub Vec<Prompt>);

#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
}

impl<'de> Deserialize<'de> for Prompts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PromptsVisitor)
    }
}

struct PromptsVisitor;

impl<'de> Visitor<'de> for PromptsVisitor {
    type Value = Prompts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, an array of token ids, or an array of strings or of arrays of token ids")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Prompts, E> {
        Ok(Prompts(vec![Prompt::Text(text.to_owned())]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Prompts, A::Error> {
        let mut prompts: Vec<Prompt> = Vec::new();
        let mut tokens = Vec::new();
        let mut tokens_in_all = 0;
        while let Some(item) = items.next_element::<Item>()? {
            let other_kind = match &item {
                Item::Token(_) => !prompts.is_empty(),
                Item::Prompt(prompt) => {
                    let differs = |last: &Prompt| discriminant(last) != discriminant(prompt);
                    !tokens.is_empty() || prompts.last().is_some_and(differs)
                }
            };
            if other_kind {
                return Err(A::Error::custom("token ids, strings and arrays cannot be mixed"));
            }
            match item {
                Item::Token(token) => tokens.push(token),
                Item::Prompt(prompt) => prompts.push(prompt),
            }
            tokens_in_all += match prompts.last() {
                Some(Prompt::Tokens(tokens)) => tokens.len(),
                _ => 0,
            };
            if prompts.len() > PROMPTS_MAX {
                return Err(A::Error::custom(format_args!("more than {PROMPTS_MAX} prompts")));
            }
            if tokens_in_all.max(tokens.len()) > PROMPT_TOKENS_MAX {
                return Err(A::Error::custom(format_args!("more than {PROMPT_TOKENS_MAX} token ids")));
            }
        }
        if !tokens.is_empty() {
            prompts.push(Prompt::Tokens(tokens));
        }
        Ok(Prompts(prompts))
    }
}

/// An element of a prompt array.
enum Item {
    Token(u32),
    Prompt(Prompt),
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token id, a string or an array of token ids")
    }

    fn visit_u64<E: Error>(self, token: u64) -> Result<Item, E> {
        u32::try_from(token)
            .map(Item::Token)
            .map_err(|_| E::custom(format_args!("{token} is not a token id")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Item, E> {
        Ok(Item::Prompt(Prompt::Text(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, tokens: A) -> Result<Item, A::Error> {
        let tokens = serde::de::value::SeqAccessDeserializer::new(tokens);
        let tokens = super::list::List::<u32, PROMPT_TOKENS_MAX>::deserialize(tokens)?;
        Ok(Item::Prompt(Prompt::Tokens(tokens.0)))
    }
}

/// An answer, and also one event of a stream.
#[derive(Debug, Serialize, ToSchema)]
pub struct Completion {
    #[schema(value_type = String)]
    pub id: Arc<str>,
    /// Always `text_completion`.
    pub object: &'static str,
    /// Unix seconds.
    pub created: u64,
    #[schema(value_type = String)]
    pub model: Arc<str>,
    pub system_fingerprint: &'static str,
    pub choices: Vec<CompletionChoice>,
    /// In a stream only with `stream_options.include_usage`: null but in the last chunk, or the counts so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Usage>)]
    pub usage: Option<Option<Usage>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CompletionChoice {
    pub index: usize,
    pub text: String,
    #[schema(value_type = Option<CompletionLogprobsSchema>)]
    pub logprobs: Option<CompletionLogprobs>,
    pub finish_reason: Option<FinishReason>,
    /// With `return_token_ids`, in the first chunk of a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<u32>>)]
    pub prompt_token_ids: Option<Arc<[u32]>>,
    /// With `return_token_ids`: the tokens of the answer, with the one that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_has_four_forms() {
        let prompts = |json| serde_json::from_str::<Prompts>(json).map(|p| p.0).map_err(|e| e.to_string());
        let text = |text: &str| Prompt::Text(text.into());
        assert_eq!(prompts(r#""a""#).unwrap(), [text("a")]);
        assert_eq!(prompts(r#"["a","b"]"#).unwrap(), [text("a"), text("b")]);
        assert_eq!(prompts("[1,2]").unwrap(), [Prompt::Tokens(vec![1, 2])]);
        assert_eq!(prompts("[[1],[2,3]]").unwrap(), [Prompt::Tokens(vec![1]), Prompt::Tokens(vec![2, 3])]);
        assert_eq!(prompts("[]").unwrap(), []);
        for bad in [
            r#"["a",1]"#,
            r#"[1,"a"]"#,
            "[1,[2]]",
            r#"[[1],"a"]"#,
            r#"["a",[1]]"#,
            "[-1]",
            "[1.5]",
            "[4294967296]",
            "[[[1]]]",
            "{}",
            "1",
        ] {
            assert!(prompts(bad).is_err(), "{bad}");
        }
    }
}
