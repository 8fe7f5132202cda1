//! `POST /tokenize` and `POST /detokenize`.

use axum::Json;
use axum::extract::State;
use ostro_engine::text::{Special, SpecialTokens, TextModel};
use serde_json::{Map, Value};

use super::App;
use super::body::JsonBody;
use super::track::Tracked;
use crate::error::ApiError;
use crate::openai::chat::ChatFields;
use crate::openai::error::ErrorEnvelope;
use crate::openai::message::Messages;
use crate::openai::tokenize::{DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse};
use crate::prompt::{self, ANY_TEXT_BYTES_MAX, Conversation, GenerationPrompt};
use crate::validate;
use crate::work::Work;

/// Turn a text or a conversation into token ids
#[utoipa::path(
    post, path = "/tokenize", tag = "Tokens",
    request_body = TokenizeRequest,
    responses(
        (status = 200, description = "The tokens", body = TokenizeResponse),
        (status = "4XX", description = "The request cannot be served", body = ErrorEnvelope),
        (status = "5XX", description = "The server cannot serve it now", body = ErrorEnvelope),
    ),
)]
pub(super) async fn tokenize(
    State(app): State<App>,
    tracked: Tracked,
    body: JsonBody,
) -> Result<Json<TokenizeResponse>, ApiError> {
    let bytes = body.len();
    if bytes > ANY_TEXT_BYTES_MAX {
        return Err(ApiError::BodyTooLarge { limit: ANY_TEXT_BYTES_MAX });
    }
    let (request, _memory): (TokenizeRequest, _) = body.read(|body| validate::read(body)).await?;
    let (model, _permit) = app.enter(request.model.as_deref(), 0, &tracked).await?;
    let text = model.engine.text().clone();
    let return_strings = request.return_token_strs.unwrap_or(false);
    let has_template = request.messages.is_some();
    let work = move || {
        let tokens = tokens_of(&text, request)?;
        let string = |token: &u32| String::from_utf8_lossy(text.token_bytes(*token)).into_owned();
        let strings = return_strings.then(|| tokens.iter().map(string).collect());
        Ok((tokens, strings))
    };
    let (tokens, token_strs) = match has_template {
        true => Work::Text.run_apart(bytes, work).await?,
        false => Work::Text.run(bytes, work).await?,
    };
    let max_model_len = model.engine.info().context_len;
    Ok(Json(TokenizeResponse { count: tokens.len(), max_model_len, tokens, token_strs }))
}

fn tokens_of(text: &TextModel, mut request: TokenizeRequest) -> Result<Vec<u32>, ApiError> {
    let variables = template_variables(&mut request)?;
    match (request.prompt.take(), request.messages.take()) {
        (Some(prompt), None) if variables.is_empty() => {
            let special =
                if request.add_special_tokens == Some(false) { Special::Keep } else { Special::Add };
            prompt::encode(text, &prompt, special, "prompt")
        }
        (Some(_), None) => {
            Err(ApiError::invalid("prompt", "a prompt goes through no template; variables are for messages"))
        }
        (None, Some(messages)) => conversation_tokens(text, messages, &variables, &request),
        (Some(_), Some(_)) => Err(ApiError::invalid("prompt", "give either prompt or messages, not both")),
        (None, None) => Err(ApiError::invalid("prompt", "prompt or messages is missing")),
    }
}

fn template_variables(request: &mut TokenizeRequest) -> Result<Map<String, Value>, ApiError> {
    validate::template_variables(&ChatFields {
        enable_thinking: request.enable_thinking,
        reasoning_effort: request.reasoning_effort,
        chat_template_kwargs: request.chat_template_kwargs.take(),
        ..ChatFields::default()
    })
}

fn conversation_tokens(
    text: &TextModel,
    messages: Messages,
    variables: &Map<String, Value>,
    request: &TokenizeRequest,
) -> Result<Vec<u32>, ApiError> {
    let messages = validate::messages(Some(messages))?;
    let head = match request.add_generation_prompt.unwrap_or(true) {
        true => GenerationPrompt::Add,
        false => GenerationPrompt::Omit,
    };
    let conversation = Conversation { messages: &messages, variables, bytes_max: ANY_TEXT_BYTES_MAX };
    let mut tokens = prompt::encode_chat(text, conversation, head)?;
    if request.add_special_tokens == Some(true) {
        // What the tokeniser puts before a text; templates write theirs themselves.
        tokens.splice(0..0, prompt::encode(text, "", Special::Add, "messages")?);
    }
    Ok(tokens)
}

/// Turn token ids into text, special tokens included
#[utoipa::path(
    post, path = "/detokenize", tag = "Tokens",
    request_body = DetokenizeRequest,
    responses(
        (status = 200, description = "The text", body = DetokenizeResponse),
        (status = "4XX", description = "The request cannot be served", body = ErrorEnvelope),
        (status = "5XX", description = "The server cannot serve it now", body = ErrorEnvelope),
    ),
)]
pub(super) async fn detokenize(
    State(app): State<App>,
    tracked: Tracked,
    body: JsonBody,
) -> Result<Json<DetokenizeResponse>, ApiError> {
    let (request, _memory): (DetokenizeRequest, _) = body.read(|body| validate::read(body)).await?;
    let (model, _permit) = app.enter(request.model.as_deref(), 0, &tracked).await?;
    let tokens = request.tokens.0;
    prompt::check_vocabulary(&model.engine, "tokens", tokens.iter().copied())?;
    let text = model.engine.text().clone();
    let prompt = Work::Text.run(tokens.len(), move || Ok(text.decode(&tokens, SpecialTokens::Show))).await?;
    Ok(Json(DetokenizeResponse { prompt }))
}
