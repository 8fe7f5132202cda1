//! The way of tokens from the engine's thread to one reader.
//!
//! The channel holds a whole answer, so the engine never waits for a reader. Dropping the reader's end cancels.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::request::{TokenEvent, Usage};

/// Yields any number of `Token`, then exactly one `Finished` or `Failed`, then `None`.
/// Dropping it before its end cancels the sequence, also one that waits.
#[derive(Debug)]
pub struct TokenStream {
    events: mpsc::Receiver<TokenEvent>,
    /// Counts streams dropped before their end, so that the engine looks for them.
    abandoned: Arc<AtomicU64>,
    shared: Arc<Shared>,
    tokens: u32,
    first_token: Option<Instant>,
    ended: bool,
}

/// What both ends see beside the events.
#[derive(Debug, Default)]
struct Shared {
    /// The reader has all it wants: the answer is complete, not given up.
    stopped: AtomicBool,
    start: OnceLock<Start>,
}

/// A sequence at its first step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) prompt_tokens: u32,
    /// Of these, found in the prefix cache.
    pub(crate) cached_tokens: u32,
    /// Time since the submission.
    pub(crate) queued: Duration,
    pub(crate) at: Instant,
}

impl TokenStream {
    /// Ends the sequence as complete after the tokens read so far (a stop string was found in their text, say),
    /// where dropping the stream would cancel it. The usage counts what was read; without a token it is empty.
    pub fn stop(self) -> Usage {
        self.shared.stopped.store(true, Ordering::Release);
        let (Some(start), Some(first_token)) = (self.shared.start.get(), self.first_token) else {
            return Usage::default();
        };
        Usage {
            prompt_tokens: start.prompt_tokens,
            cached_tokens: start.cached_tokens,
            completion_tokens: self.tokens,
            queue_seconds: start.queued.as_secs_f64(),
            prefill_seconds: (first_token - start.at).as_secs_f64(),
            decode_seconds: first_token.elapsed().as_secs_f64(),
        }
    }

    /// Cancel safe.
    pub async fn next(&mut self) -> Option<TokenEvent> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// Must not be called on a thread that drives futures.
    pub fn blocking_next(&mut self) -> Option<TokenEvent> {
        if self.ended {
            return None;
        }
        let event = self.events.blocking_recv();
        self.note(event)
    }

    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<TokenEvent>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.events.poll_recv(context).map(|event| self.note(event))
    }

    fn note(&mut self, event: Option<TokenEvent>) -> Option<TokenEvent> {
        let event = event.unwrap_or_else(|| TokenEvent::Failed("the engine has stopped".to_owned()));
        if let TokenEvent::Token(_) = event {
            self.tokens += 1;
            self.first_token.get_or_insert_with(Instant::now);
        } else {
            self.ended = true;
        }
        Some(event)
    }
}

impl Drop for TokenStream {
    fn drop(&mut self) {
        if !self.ended {
            self.events.close();
            self.abandoned.fetch_add(1, Ordering::Release);
        }
    }
}

/// The engine's end of a `TokenStream`.
#[derive(Debug)]
pub(crate) struct TokenSink {
    events: mpsc::Sender<TokenEvent>,
    shared: Arc<Shared>,
}

/// How a reader went before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It had all it wanted.
    Stopped,
    Cancelled,
}

impl TokenSink {
    /// Never waits: the channel has room for every event of the sequence.
    pub(crate) fn send(&self, event: TokenEvent) -> Result<(), Left> {
        self.events.try_send(event).map_err(|_| self.how_left())
    }

    /// Before the first token; later calls change nothing.
    pub(crate) fn set_start(&self, start: Start) {
        let _ = self.shared.start.set(start);
    }

    /// Whether, and how, the reader has gone.
    pub(crate) fn left(&self) -> Option<Left> {
        self.events.is_closed().then(|| self.how_left())
    }

    fn how_left(&self) -> Left {
        if self.shared.stopped.load(Ordering::Acquire) { Left::Stopped } else { Left::Cancelled }
    }
}

/// A stream that holds `tokens_max` tokens and the final event.
pub(crate) fn token_channel(tokens_max: u32, abandoned: &Arc<AtomicU64>) -> (TokenSink, TokenStream) {
    let (sender, receiver) = mpsc::channel(tokens_max as usize + 1);
    let shared = Arc::<Shared>::default();
    let sink = TokenSink { events: sender, shared: shared.clone() };
    let stream = TokenStream {
        events: receiver,
        abandoned: abandoned.clone(),
        shared,
        tokens: 0,
        first_token: None,
        ended: false,
    };
    (sink, stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Token;

    fn token(id: u32) -> TokenEvent {
        TokenEvent::Token(Token { id, logprobs: None })
    }

    #[test]
    fn whole_answer_fits_without_a_reader() {
        let (sink, mut stream) = token_channel(3, &Arc::default());
        (0..3).for_each(|id| sink.send(token(id)).unwrap());
        sink.send(TokenEvent::Failed("end".into())).unwrap();
        for _ in 0..3 {
            assert!(matches!(stream.blocking_next(), Some(TokenEvent::Token(_))));
        }
        assert!(matches!(stream.blocking_next(), Some(TokenEvent::Failed(_))));
        assert!(stream.blocking_next().is_none());
    }

    #[test]
    fn dropped_stream_is_counted_and_seen() {
        let abandoned = Arc::default();
        let (sink, stream) = token_channel(3, &abandoned);
        drop(stream);
        assert_eq!(sink.left(), Some(Left::Cancelled));
        assert_eq!(sink.send(token(1)), Err(Left::Cancelled));
        assert_eq!(abandoned.load(Ordering::Acquire), 1);
    }

    #[test]
    fn stopped_stream_says_what_it_used() {
        let (sink, mut stream) = token_channel(3, &Arc::default());
        let queued = Duration::from_millis(1500);
        sink.set_start(Start { prompt_tokens: 9, cached_tokens: 4, queued, at: Instant::now() });
        (0..3).for_each(|id| sink.send(token(id)).unwrap());
        stream.blocking_next();
        stream.blocking_next();
        let usage = stream.stop();
        assert_eq!(sink.left(), Some(Left::Stopped));
        assert_eq!((usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens), (9, 4, 2));
        assert_eq!(usage.queue_seconds, 1.5);
    }

    #[test]
    fn finished_stream_is_not_abandoned() {
        let abandoned = Arc::default();
        let (sink, mut stream) = token_channel(3, &abandoned);
        sink.send(TokenEvent::Failed("end".into())).unwrap();
        stream.blocking_next();
        drop(stream);
        assert_eq!(abandoned.load(Ordering::Acquire), 0);
    }

    #[test]
    fn lost_engine_fails_the_stream() {
        let (sink, mut stream) = token_channel(3, &Arc::default());
        drop(sink);
        assert!(matches!(stream.blocking_next(), Some(TokenEvent::Failed(_))));
        assert!(stream.blocking_next().is_none());
    }
}
