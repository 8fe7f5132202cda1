//! Messages or text to prompt tokens, by the model's own template and tokeniser.
//!
//! Long texts, and all conversations, are worked on away from the threads that drive connections.

use std::sync::Arc;
use std::time::SystemTime;

use ostro_engine::Engine;
use ostro_engine::request::TokenId;
use ostro_engine::text::{ChatError, ChatPrompt, Special, SpecialTokens, TemplateError, TextModel};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;
use crate::openai::completion::Prompt;
use crate::work::Work;

/// No vocabulary has texts where a token covers more bytes on average.
const TOKEN_BYTES_MAX: usize = 256;
/// Nor is there a long text that has as many by chance: usual are 3 to 6, up to 10 in scripts of three bytes a letter.
const LONG_TEXT_TOKEN_BYTES_MAX: usize = 16;
/// Up to here a text may be anything. Where it is one word to the tokeniser, it takes a gigabyte.
pub(crate) const ANY_TEXT_BYTES_MAX: usize = 4 << 20;

/// Tokens to continue, and their text when the answer is to begin with it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PreparedPrompt {
    /// The field it came from.
    pub param: &'static str,
    pub tokens: Arc<[TokenId]>,
    pub echo: Option<String>,
}

/// Templates and tokenises a conversation.
///
/// # Errors
/// The template refuses the messages, or the prompt leaves no room for an answer.
pub(crate) async fn chat(
    engine: &Engine,
    messages: Vec<Value>,
    variables: Map<String, Value>,
) -> Result<PreparedPrompt, ApiError> {
    let said = messages.iter().map(|message| crate::validate::text_of(message).len()).sum();
    may_fit(engine, said, "messages")?;
    let bytes = messages.iter().chain(variables.values()).map(value_bytes).sum();
    let context = engine.info().context_len;
    let (text, bytes_max) = (engine.text().clone(), text_bytes_max(context));
    let work = move || {
        let conversation = Conversation { messages: &messages, variables: &variables, bytes_max };
        encode_chat(&text, conversation, GenerationPrompt::Add).map_err(|error| match error {
            ApiError::ContextLength { param, message } => too_long(context, param, &message),
            error => error,
        })
    };
    let tokens = Work::Prompt.run_apart(bytes, work).await?;
    if tokens.is_empty() {
        return Err(ApiError::invalid("messages", "the chat template makes no tokens of them"));
    }
    fits(context, &tokens, "messages")?;
    Ok(PreparedPrompt { param: "messages", tokens: tokens.into(), echo: None })
}

/// Tokenises the prompts of a completion; token ids are taken as they are.
///
/// # Errors
/// A token outside the vocabulary, or a prompt that leaves no room for an answer.
pub(crate) async fn completions(
    engine: &Engine,
    prompts: Vec<Prompt>,
    echo: bool,
) -> Result<Vec<PreparedPrompt>, ApiError> {
    let context = engine.info().context_len;
    let mut bytes = 0;
    for prompt in &prompts {
        match prompt {
            Prompt::Text(text) => {
                may_fit(engine, text.len(), "prompt")?;
                bytes += text.len();
            }
            Prompt::Tokens(tokens) => {
                check_vocabulary(engine, "prompt", tokens.iter().copied())?;
                // Before they are read: a body holds far more of them than a context.
                fits(context, tokens, "prompt")?;
                bytes += if echo { size_of_val(tokens.as_slice()) } else { 0 };
            }
        }
    }
    let text = engine.text().clone();
    let left = CancellationToken::new();
    let _here = left.clone().drop_guard(); // dropped with this future when the client leaves
    let work = move || until_left(&left, prompts, |prompt| prepared(&text, context, prompt, echo));
    // All of them at once: many short ones are long, and a list is let in or refused as a whole.
    Work::Prompt.run(bytes, work).await
}

/// Ends between two of them when the client has left: all together may take minutes.
fn until_left<T, U>(
    left: &CancellationToken,
    items: Vec<T>,
    mut one: impl FnMut(T) -> Result<U, ApiError>,
) -> Result<Vec<U>, ApiError> {
    let next = |item| match left.is_cancelled() {
        true => Err(ApiError::Engine("the client has left".into())), // nobody reads it
        false => one(item),
    };
    items.into_iter().map(next).collect()
}

fn prepared(text: &TextModel, context: u32, prompt: Prompt, echo: bool) -> Result<PreparedPrompt, ApiError> {
    let (tokens, echo) = match prompt {
        Prompt::Text(prompt) => {
            let tokens = encode(text, &prompt, Special::Add, "prompt")?;
            (tokens, echo.then_some(prompt))
        }
        Prompt::Tokens(tokens) => {
            let echoed = echo.then(|| text.decode(&tokens, SpecialTokens::Show));
            (tokens, echoed)
        }
    };
    if tokens.is_empty() {
        return Err(ApiError::invalid("prompt", "the prompt has no tokens"));
    }
    fits(context, &tokens, "prompt")?;
    Ok(PreparedPrompt { param: "prompt", tokens: tokens.into(), echo })
}

/// Whether the text ends with the head of the assistant's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GenerationPrompt {
    Add,
    Omit,
}

pub(crate) struct Conversation<'a> {
    pub messages: &'a [Value],
    /// Of the template, beside the messages.
    pub variables: &'a Map<String, Value>,
    /// Of the text that the template writes.
    pub bytes_max: usize,
}

/// The tokens of a conversation.
///
/// # Errors
/// The model has no template, it refuses the messages, or writes a text that is too long.
pub(crate) fn encode_chat(
    text: &TextModel,
    conversation: Conversation<'_>,
    head: GenerationPrompt,
) -> Result<Vec<TokenId>, ApiError> {
    let Conversation { messages, variables, bytes_max } = conversation;
    let prompt = ChatPrompt {
        messages,
        tools: &[],
        add_generation_prompt: head == GenerationPrompt::Add,
        arguments: variables,
        now: SystemTime::now(),
    };
    text.encode_chat(&prompt, bytes_max).map_err(|error| match error {
        ChatError::TooLong { .. } => {
            ApiError::ContextLength { param: "messages", message: error.to_string() }
        }
        ChatError::Template(TemplateError::Missing) => {
            ApiError::unsupported("messages", format!("{error}; use /v1/completions"))
        }
        ChatError::Template(error @ (TemplateError::TooSlow | TemplateError::Broken)) => {
            ApiError::Engine(error.to_string())
        }
        error => ApiError::invalid("messages", error.to_string()),
    })
}

pub(crate) fn encode(
    text: &TextModel,
    prompt: &str,
    special: Special,
    param: &str,
) -> Result<Vec<TokenId>, ApiError> {
    text.encode(prompt, special).map_err(|error| ApiError::invalid(param, error.to_string()))
}

/// # Errors
/// A token that the model does not have; the error names `param`.
pub(crate) fn check_vocabulary(
    engine: &Engine,
    param: &str,
    tokens: impl IntoIterator<Item = TokenId>,
) -> Result<(), ApiError> {
    let vocabulary = engine.info().vocab_size;
    match tokens.into_iter().find(|&token| token >= vocabulary) {
        Some(token) => Err(ApiError::invalid(
            param,
            format!("token {token} is outside the vocabulary of {vocabulary} tokens"),
        )),
        None => Ok(()),
    }
}

/// Refuses a text that is far too long before any work is done on it.
///
/// # Errors
/// The text has more bytes than the context's tokens can cover; the error names `param`.
pub(crate) fn may_fit(engine: &Engine, bytes: usize, param: &'static str) -> Result<(), ApiError> {
    let context = engine.info().context_len;
    if bytes <= text_bytes_max(context) {
        return Ok(());
    }
    Err(too_long(context, param, &format!("the text has {bytes} bytes, far more than they hold")))
}

fn fits(context: u32, tokens: &[TokenId], param: &'static str) -> Result<(), ApiError> {
    if tokens.len() < context as usize {
        return Ok(());
    }
    Err(too_long(context, param, &format!("the prompt has {} tokens", tokens.len())))
}

/// The first words, and the last, are those by which clients know that a shorter prompt or a longer context helps: many
/// look at no code (LiteLLM's exception_mapping_utils.py).
pub(crate) fn too_long(context: u32, param: &'static str, reason: &str) -> ApiError {
    let message = format!(
        "this model's maximum context length is {context} tokens, answer included; {reason}: please reduce the length \
         of the {param}"
    );
    ApiError::ContextLength { param, message }
}

/// Bytes that the tokens of a context can cover. Of a long context, those of any text that is one: tokenising may take some
/// 256 times as much memory, 4 KiB a token then, less than most models' cache holds for it.
fn text_bytes_max(context_len: u32) -> usize {
    let tokens = context_len as usize;
    let long = tokens.saturating_mul(LONG_TEXT_TOKEN_BYTES_MAX).max(ANY_TEXT_BYTES_MAX);
    tokens.saturating_mul(TOKEN_BYTES_MAX).min(long)
}

/// Of all texts in a value, which a template may write; what has none takes memory too.
fn value_bytes(value: &Value) -> usize {
    let inside: usize = match value {
        Value::String(text) if !text.is_empty() => return text.len(),
        Value::Array(items) => items.iter().map(value_bytes).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + value_bytes(value)).sum(),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    inside.max(size_of::<Value>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_of_a_client_that_has_left_is_not_gone_through() {
        let left = CancellationToken::new();
        let mut done = Vec::new();
        let all = until_left(&left, vec![1, 2, 3], |item| {
            done.push(item);
            if item == 2 {
                left.cancel();
            }
            Ok(())
        });
        assert!(all.is_err());
        assert_eq!(done, [1, 2]);
    }

    #[test]
    fn values_without_texts_take_memory_too() {
        for value in [
            json!(vec![0; 5000]),
            json!(vec![json!({}); 5000]),
            json!(vec![""; 5000]),
            json!("a".repeat(5000)),
        ] {
            assert!((5000..1 << 20).contains(&value_bytes(&value)), "{}", value_bytes(&value));
        }
    }

    #[test]
    fn texts_of_long_contexts_are_bounded_by_what_they_may_take() {
        for (context_len, bytes) in
            [(2048, 512 << 10), (16 << 10, 4 << 20), (128 << 10, 4 << 20), (1 << 20, 16 << 20)]
        {
            assert_eq!(text_bytes_max(context_len), bytes, "{context_len}");
        }
    }
}
