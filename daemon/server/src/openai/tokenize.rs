//! `/tokenize` and `/detokenize`, in vLLM's shapes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::chat::ReasoningEffort;
use super::distinct::DistinctMap;
use super::list::List;
use super::message::Messages;

/// A text, or messages to put through the model's chat template.
#[derive(Debug, Deserialize, ToSchema)]
pub struct TokenizeRequest {
    pub model: Option<String>,
    /// Text to tokenise; either this or `messages`.
    pub prompt: Option<String>,
    #[schema(value_type = Option<Vec<super::message::Message>>)]
    pub messages: Option<Messages>,
    /// Add the tokens that the model puts around a text: `true` for `prompt`, `false` for `messages`.
    pub add_special_tokens: Option<bool>,
    /// End the templated messages with the head of the assistant's answer; `true` by default.
    pub add_generation_prompt: Option<bool>,
    /// For the template of `messages`, as in a chat request.
    pub enable_thinking: Option<bool>,
    /// Likewise.
    pub reasoning_effort: Option<ReasoningEffort>,
    /// Likewise.
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Option<DistinctMap>,
    /// Answer with the text of each token too.
    pub return_token_strs: Option<bool>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TokenizeResponse {
    pub count: usize,
    pub max_model_len: u32,
    pub tokens: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_strs: Option<Vec<String>>,
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct DetokenizeRequest {
    pub model: Option<String>,
    #[schema(value_type = Vec<u32>)]
    pub tokens: List<u32, { super::completion::PROMPT_TOKENS_MAX }>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DetokenizeResponse {
    pub prompt: String,
}
