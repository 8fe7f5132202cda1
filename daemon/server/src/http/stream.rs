//! Sends an answer, as server-sent events or as one JSON body. Dropping either cancels the answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::Serialize;
use uuid::Uuid;

use super::event::json;
use super::track::Tracked;
use crate::answer::Answer;
use crate::choice::Piece;
use crate::error::ApiError;
use crate::openai::usage::Usage;
use crate::validate::Delivery;

/// What tells answers of one route from those of another.
pub(super) trait Form: Send + 'static {
    type Event: Serialize;
    type Whole: Serialize;

    /// A piece of choice `index` as an event.
    fn event(&mut self, index: usize, piece: Piece, answer: &Answer) -> Self::Event;
    /// The event that carries the token counts.
    fn usage_event(&self, usage: Usage) -> Self::Event;
    /// All choices as one body.
    fn whole(self, pieces: Vec<Piece>, answer: &Answer) -> Self::Whole;
}

/// What all parts of one answer repeat.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) id: Arc<str>,
    /// Unix seconds.
    pub(super) created: u64,
    pub(super) model: Arc<str>,
    pub(super) delivery: Delivery,
}

impl Head {
    pub(super) fn new(prefix: &str, model: &Arc<str>, delivery: Delivery) -> Head {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let id = format!("{prefix}-{}", Uuid::new_v4().simple()).into();
        Head { id, created, model: model.clone(), delivery }
    }

    /// The `usage` of an event before the one that carries it: null, or the counts so far.
    pub(super) fn usage_so_far(&self, answer: &Answer) -> Option<Option<Usage>> {
        let Delivery { include_usage, continuous_usage, .. } = self.delivery;
        include_usage.then(|| continuous_usage.then(|| answer.usage_so_far()))
    }
}

/// An answer on its way out.
pub(super) struct Delivering<F> {
    pub(super) answer: Answer,
    pub(super) form: F,
    pub(super) delivery: Delivery,
    pub(super) keep_alive: Duration,
    pub(super) tracked: Tracked,
}

impl<F: Form> Delivering<F> {
    pub(super) async fn reply(self) -> Result<Response, ApiError> {
        if self.delivery.stream { Ok(self.events()) } else { self.whole().await }
    }

    async fn whole(mut self) -> Result<Response, ApiError> {
        let mut pieces = vec![Piece::default(); self.answer.choices()];
        while let Some(next) = self.answer.next().await {
            let (index, piece) = next?;
            pieces[index].append(piece);
        }
        self.tracked.set_usage(self.answer.usage());
        Ok(Json(self.form.whole(pieces, &self.answer)).into_response())
    }

    fn events(self) -> Response {
        let keep_alive = KeepAlive::new().interval(self.keep_alive).text("keep-alive");
        let events = stream::unfold((self, Phase::Answer), |(mut delivering, phase)| async move {
            let (event, phase) = delivering.next(phase).await?;
            Some((Ok::<_, Infallible>(event), (delivering, phase)))
        });
        let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
        let headers = response.headers_mut();
        // Events always are UTF-8, but Python's requests takes text for Latin-1 unless it is told.
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
        // Proxies of the nginx family would otherwise collect the events.
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        response
    }

    async fn next(&mut self, phase: Phase) -> Option<(Event, Phase)> {
        match phase {
            Phase::Answer => match self.answer.next().await {
                Some(Ok((index, piece))) => {
                    Some((json(&self.form.event(index, piece, &self.answer)), Phase::Answer))
                }
                Some(Err(error)) => {
                    match error {
                        ApiError::ShuttingDown => tracing::info!("a stream was cancelled"),
                        _ => self.tracked.log_error(&error.to_string(), "a stream broke"),
                    }
                    self.tracked.set_failed();
                    Some((json(&error.envelope()), Phase::Done))
                }
                None => {
                    let usage = self.answer.usage();
                    self.tracked.set_usage(usage);
                    match self.delivery.include_usage {
                        true => Some((json(&self.form.usage_event(usage)), Phase::Done)),
                        false => Some((done(), Phase::End)),
                    }
                }
            },
            Phase::Done => Some((done(), Phase::End)),
            Phase::End => None,
        }
    }
}

enum Phase {
    Answer,
    Done,
    End,
}

fn done() -> Event {
    Event::default().data("[DONE]")
}
