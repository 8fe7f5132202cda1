//! `/v1/chat/completions`: the whole request.

use serde_json::{Map, Value};

use super::generation::{Logprobs, ValidGeneration, generation};
use super::{fields, json, messages};
use crate::error::ApiError;
use crate::openai::chat::{ChatFields, ReasoningEffort};
use crate::openai::distinct::DistinctMap;
use crate::openai::generation::GenerationFields;

const TOP_LOGPROBS_MAX: u64 = 20;

/// A chat request as it came.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    pub chat: ChatFields,
    pub generation: GenerationFields,
}

/// A chat request that can be served.
#[derive(Clone, Debug)]
pub struct ValidChat {
    /// As chat templates read them.
    pub messages: Vec<Value>,
    /// Further variables for the template.
    pub template_variables: Map<String, Value>,
    pub generation: ValidGeneration,
}

impl ChatRequest {
    /// Every field the route reads.
    pub fn names() -> Vec<&'static str> {
        [fields::names::<ChatFields>(), fields::names::<GenerationFields>()].concat()
    }
}

/// Reads and checks a chat request.
///
/// # Errors
/// The body is not a chat request, or a field asks for what cannot be served; the error names it.
pub fn chat(body: &[u8]) -> Result<ValidChat, ApiError> {
    let text = json::text(body)?;
    fields::check(text, &ChatRequest::names())?;
    valid(ChatRequest { chat: json::part(text)?, generation: json::part(text)? })
}

fn valid(request: ChatRequest) -> Result<ValidChat, ApiError> {
    let ChatRequest { chat, generation: fields } = request;
    let logprobs = logprobs(&chat)?;
    let mut generation = generation(fields)?;
    generation.logprobs = logprobs;
    let template_variables = template_variables(&chat)?;
    Ok(ValidChat { messages: messages(chat.messages)?, template_variables, generation })
}

fn logprobs(chat: &ChatFields) -> Result<Option<Logprobs>, ApiError> {
    match (chat.logprobs.unwrap_or(false), chat.top_logprobs) {
        (_, Some(top)) if top > TOP_LOGPROBS_MAX => Err(ApiError::invalid(
            "top_logprobs",
            format!("top_logprobs = {top} is not in 0..={TOP_LOGPROBS_MAX}"),
        )),
        (false, Some(1..)) => Err(ApiError::invalid("top_logprobs", "top_logprobs needs logprobs = true")),
        (false, _) => Ok(None),
        (true, None) => Ok(Some(Logprobs { top: 0, param: "logprobs" })),
        (true, Some(top)) => Ok(Some(Logprobs { top: top as u8, param: "top_logprobs" })),
    }
}

/// What a template gets beside the messages.
///
/// # Errors
/// A variable that only the server sets, or one that has two values; the error names it.
pub(crate) fn template_variables(chat: &ChatFields) -> Result<Map<String, Value>, ApiError> {
    let DistinctMap(mut variables) = chat.chat_template_kwargs.clone().unwrap_or_default();
    for reserved in ["messages", "tools", "add_generation_prompt", "bos_token", "eos_token"] {
        if variables.contains_key(reserved) {
            let message = format!("chat_template_kwargs cannot set {reserved:?}");
            return Err(ApiError::invalid(format!("chat_template_kwargs.{reserved}"), message));
        }
    }
    if let Some(effort) = chat.reasoning_effort {
        set(&mut variables, "reasoning_effort", effort.name().into())?;
        if effort == ReasoningEffort::None {
            set(&mut variables, "enable_thinking", false.into())?;
        }
    }
    if let Some(thinking) = chat.enable_thinking {
        set(&mut variables, "enable_thinking", thinking.into())?;
    }
    Ok(variables)
}

fn set(variables: &mut Map<String, Value>, name: &str, value: Value) -> Result<(), ApiError> {
    match variables.insert(name.to_owned(), value.clone()) {
        Some(other) if other != value => {
            let message = format!("the request says both {name} = {other} and {name} = {value}");
            Err(ApiError::invalid(name, message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "chat/tests.rs"]
mod tests;
