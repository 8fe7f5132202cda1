//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use ostro_engine::text::TextModel;

use super::body::JsonBody;
use super::stream::{Delivering, Form, Head};
use super::track::Tracked;
use super::{App, SYSTEM_FINGERPRINT};
use crate::answer::{Answer, Order};
use crate::choice::Piece;
use crate::error::ApiError;
use crate::openai::chat::{
    AssistantMessage, ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, Delta, FinishReason,
};
use crate::openai::error::ErrorEnvelope;
use crate::openai::logprobs::{ChatLogprobs, ScoredToken, ScoredTokens};
use crate::openai::usage::Usage;
use crate::{prompt, validate};

/// Answer a conversation
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "OpenAI",
    request_body = super::openapi::ChatBody,
    responses(
        (status = 200, description = "The answer", content(
            (ChatCompletion = "application/json"), (ChatChunk = "text/event-stream"),
        )),
        (status = "4XX", description = "The request cannot be served", body = ErrorEnvelope),
        (status = "5XX", description = "The server cannot serve it now", body = ErrorEnvelope),
    ),
)]
pub(super) async fn chat(
    State(app): State<App>,
    tracked: Tracked,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let (chat, memory) = body.read(validate::chat).await?;
    let generation = &chat.generation;
    let (model, permit) = app.enter(generation.model.as_deref(), generation.n, &tracked).await?;
    let prompt = prompt::chat(&model.engine, chat.messages, chat.template_variables).await?;
    drop(memory); // the texts are gone, and the answer can be long
    let observer = app.metrics.latencies.of(&model.id);
    let (admission, arrived) = (&app.admission, tracked.started());
    let order = Order { model: &model, generation, admission, observer, arrived };
    let answer = Answer::submit(order, vec![prompt], permit)?;
    let delivery = generation.delivery;
    let form = ChatForm {
        head: Head::new("chatcmpl", &model.id, delivery),
        begun: vec![false; answer.choices()],
        logprobs: generation.logprobs.map(|_| model.engine.text().clone()),
    };
    Delivering { answer, form, delivery, keep_alive: app.options.keep_alive, tracked }.reply().await
}

struct ChatForm {
    head: Head,
    /// Choices whose first event was sent.
    begun: Vec<bool>,
    /// What tells the texts of tokens, where log probabilities are asked for.
    logprobs: Option<Arc<TextModel>>,
}

impl ChatForm {
    fn logprobs(&self, tokens: Vec<ScoredToken>) -> Option<ChatLogprobs> {
        self.logprobs.clone().map(|text| ChatLogprobs { content: ScoredTokens { text, tokens } })
    }

    fn token_ids(&self, token_ids: Vec<u32>) -> Option<Vec<u32>> {
        self.head.delivery.return_token_ids.then_some(token_ids)
    }

    fn chunk(&self, choices: Vec<ChatChunkChoice>, usage: Option<Option<Usage>>) -> ChatChunk {
        ChatChunk {
            id: self.head.id.clone(),
            object: "chat.completion.chunk",
            created: self.head.created,
            model: self.head.model.clone(),
            system_fingerprint: SYSTEM_FINGERPRINT,
            choices,
            usage,
            prompt_token_ids: None,
        }
    }
}

impl Form for ChatForm {
    type Event = ChatChunk;
    type Whole = ChatCompletion;

    fn event(&mut self, index: usize, piece: Piece, answer: &Answer) -> ChatChunk {
        let first_of_all = !self.begun.contains(&true);
        let first = !std::mem::replace(&mut self.begun[index], true);
        let delta = Delta {
            role: first.then_some("assistant"),
            content: (first || !piece.text.is_empty()).then_some(piece.text),
        };
        let logprobs = Some(piece.logprobs).filter(|tokens| !tokens.is_empty());
        let choice = ChatChunkChoice {
            index,
            delta,
            logprobs: logprobs.and_then(|tokens| self.logprobs(tokens)),
            finish_reason: piece.finish,
            token_ids: self.token_ids(piece.token_ids),
        };
        let mut chunk = self.chunk(vec![choice], self.head.usage_so_far(answer));
        if first_of_all && self.head.delivery.return_token_ids {
            chunk.prompt_token_ids = Some(answer.prompts[0].tokens.clone());
        }
        chunk
    }

    fn usage_event(&self, usage: Usage) -> ChatChunk {
        self.chunk(Vec::new(), Some(Some(usage)))
    }

    fn whole(self, pieces: Vec<Piece>, answer: &Answer) -> ChatCompletion {
        let choices = pieces.into_iter().enumerate().map(|(index, piece)| ChatChoice {
            index,
            message: AssistantMessage { role: "assistant", content: piece.text, refusal: () },
            logprobs: self.logprobs(piece.logprobs),
            finish_reason: piece.finish.unwrap_or(FinishReason::Length),
            token_ids: self.token_ids(piece.token_ids),
        });
        let prompt_token_ids = self.head.delivery.return_token_ids.then(|| answer.prompts[0].tokens.clone());
        ChatCompletion {
            choices: choices.collect(),
            id: self.head.id,
            object: "chat.completion",
            created: self.head.created,
            model: self.head.model,
            system_fingerprint: SYSTEM_FINGERPRINT,
            usage: answer.usage(),
            prompt_token_ids,
        }
    }
}
