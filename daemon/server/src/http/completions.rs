//! `POST /v1/completions`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use ostro_engine::text::TextModel;
use tokio::sync::OwnedSemaphorePermit;

use super::body::JsonBody;
use super::stream::{Delivering, Form, Head};
use super::track::Tracked;
use super::{App, SYSTEM_FINGERPRINT};
use crate::answer::{Answer, Order};
use crate::choice::Piece;
use crate::error::ApiError;
use crate::openai::completion::{Completion, CompletionChoice};
use crate::openai::error::ErrorEnvelope;
use crate::openai::logprobs::{CompletionLogprobs, ScoredTokens};
use crate::openai::usage::Usage;
use crate::{prompt, validate};

/// Continue texts
#[utoipa::path(
    post, path = "/v1/completions", tag = "OpenAI",
    request_body = super::openapi::CompletionBody,
    responses(
        (status = 200, description = "The continuations", content(
            (Completion = "application/json"), (Completion = "text/event-stream"),
        )),
        (status = "4XX", description = "The request cannot be served", body = ErrorEnvelope),
        (status = "5XX", description = "The server cannot serve it now", body = ErrorEnvelope),
    ),
)]
pub(super) async fn completions(
    State(app): State<App>,
    tracked: Tracked,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let (completion, memory) = body.read(validate::completion).await?;
    let generation = &completion.generation;
    let sequences = completion.prompts.len() * generation.n;
    let (model, permit) = app.enter(generation.model.as_deref(), sequences, &tracked).await?;
    let prompts = prompt::completions(&model.engine, completion.prompts, completion.echo).await?;
    // Without echo the texts are gone, and the answer can be long.
    let echoed = completion.echo.then_some(memory);
    let observer = app.metrics.latencies.of(&model.id);
    let (admission, arrived) = (&app.admission, tracked.started());
    let order = Order { model: &model, generation, admission, observer, arrived };
    let answer = Answer::submit(order, prompts, permit)?;
    let delivery = generation.delivery;
    let form = CompletionForm {
        head: Head::new("cmpl", &model.id, delivery),
        begun: vec![false; answer.choices()],
        logprobs: generation.logprobs.map(|_| model.engine.text().clone()),
        _echoed: echoed,
    };
    Delivering { answer, form, delivery, keep_alive: app.options.keep_alive, tracked }.reply().await
}

struct CompletionForm {
    head: Head,
    /// Choices whose first event was sent.
    begun: Vec<bool>,
    /// What tells the texts of tokens, where log probabilities are asked for.
    logprobs: Option<Arc<TextModel>>,
    /// The memory of the prompts, where they are part of the answer.
    _echoed: Option<OwnedSemaphorePermit>,
}

impl CompletionForm {
    fn choice(&mut self, index: usize, piece: Piece, answer: &Answer) -> CompletionChoice {
        let first = !std::mem::replace(&mut self.begun[index], true);
        let prompt = answer.prompt_of(index);
        let ids = self.head.delivery.return_token_ids;
        let text = match &prompt.echo {
            Some(echo) if first => format!("{echo}{}", piece.text),
            _ => piece.text,
        };
        CompletionChoice {
            index,
            text,
            logprobs: self
                .logprobs
                .clone()
                .map(|text| CompletionLogprobs(ScoredTokens { text, tokens: piece.logprobs })),
            finish_reason: piece.finish,
            prompt_token_ids: (ids && first).then(|| prompt.tokens.clone()),
            token_ids: ids.then_some(piece.token_ids),
        }
    }

    fn completion(&self, choices: Vec<CompletionChoice>, usage: Option<Option<Usage>>) -> Completion {
        Completion {
            id: self.head.id.clone(),
            object: "text_completion",
            created: self.head.created,
            model: self.head.model.clone(),
            system_fingerprint: SYSTEM_FINGERPRINT,
            choices,
            usage,
        }
    }
}

impl Form for CompletionForm {
    type Event = Completion;
    type Whole = Completion;

    fn event(&mut self, index: usize, piece: Piece, answer: &Answer) -> Completion {
        let has_tokens = !piece.logprobs.is_empty();
        let mut choice = self.choice(index, piece, answer);
        choice.logprobs = choice.logprobs.filter(|_| has_tokens);
        self.completion(vec![choice], self.head.usage_so_far(answer))
    }

    fn usage_event(&self, usage: Usage) -> Completion {
        self.completion(Vec::new(), Some(Some(usage)))
    }

    fn whole(mut self, pieces: Vec<Piece>, answer: &Answer) -> Completion {
        let pieces = pieces.into_iter().enumerate();
        let choices = pieces.map(|(index, piece)| self.choice(index, piece, answer)).collect();
        self.completion(choices, Some(Some(answer.usage())))
    }
}
