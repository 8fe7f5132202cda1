//! `/v1/chat/completions`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::distinct::DistinctMap;
use super::logprobs::ChatLogprobs;
use super::message::Messages;
use super::usage::Usage;

/// The fields of a chat request beside those of [`super::generation::GenerationFields`].
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct ChatFields {
    #[schema(value_type = Vec<super::message::Message>, min_items = 1)]
    pub messages: Option<Messages>,
    /// Report the log probability of each token of the answer, and of those that ended it and are not in its text.
    pub logprobs: Option<bool>,
    /// With `logprobs`: also of this many likeliest tokens, 0 to 20.
    pub top_logprobs: Option<u64>,
    /// For templates of models that can think before they answer.
    pub enable_thinking: Option<bool>,
    /// Handed to templates that know it, `xhigh` as `max`; `none` also turns thinking off.
    pub reasoning_effort: Option<ReasoningEffort>,
    /// Further variables for the chat template.
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Option<DistinctMap>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningEffort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

impl ReasoningEffort {
    /// As `ostro run` hands it to templates too.
    pub fn name(self) -> &'static str {
        match self {
            ReasoningEffort::None => "none",
            ReasoningEffort::Minimal => "minimal",
            ReasoningEffort::Low => "low",
            ReasoningEffort::Medium => "medium",
            ReasoningEffort::High => "high",
            ReasoningEffort::Xhigh | ReasoningEffort::Max => "max",
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ChatCompletion {
    #[schema(value_type = String)]
    pub id: Arc<str>,
    /// Always `chat.completion`.
    pub object: &'static str,
    /// Unix seconds.
    pub created: u64,
    #[schema(value_type = String)]
    pub model: Arc<str>,
    pub system_fingerprint: &'static str,
    pub choices: Vec<ChatChoice>,
    pub usage: Usage,
    /// With `return_token_ids`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<u32>>)]
    pub prompt_token_ids: Option<Arc<[u32]>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ChatChoice {
    pub index: usize,
    pub message: AssistantMessage,
    pub logprobs: Option<ChatLogprobs>,
    pub finish_reason: FinishReason,
    /// With `return_token_ids`: the tokens of the answer, with the one that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AssistantMessage {
    /// Always `assistant`.
    pub role: &'static str,
    pub content: String,
    /// Always null.
    #[schema(value_type = Option<String>)]
    pub refusal: (),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// An end token or a stop string.
    Stop,
    /// `max_tokens`, or the model's context is full.
    Length,
}

/// One event of a stream.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChatChunk {
    #[schema(value_type = String)]
    pub id: Arc<str>,
    /// Always `chat.completion.chunk`.
    pub object: &'static str,
    pub created: u64,
    #[schema(value_type = String)]
    pub model: Arc<str>,
    pub system_fingerprint: &'static str,
    /// Empty in the chunk that carries the usage.
    pub choices: Vec<ChatChunkChoice>,
    /// With `stream_options.include_usage`: null but in the last chunk, or the counts so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Usage>)]
    pub usage: Option<Option<Usage>>,
    /// In the first chunk, with `return_token_ids`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<u32>>)]
    pub prompt_token_ids: Option<Arc<[u32]>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ChatChunkChoice {
    pub index: usize,
    pub delta: Delta,
    pub logprobs: Option<ChatLogprobs>,
    pub finish_reason: Option<FinishReason>,
    /// With `return_token_ids`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Delta {
    /// In the first chunk of a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}
