//! The way of tokens from the engine's thread to one reader.
//!
//! The channel holds a whole answer, so the engine never waits for a reader. Dropping the reader's end cancels.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::sync::mpsc;

use crate::request::TokenEvent;

/// Yields any number of `Token`, then exactly one `Finished` or `Failed`, then `None`.
/// Dropping it before its end cancels the sequence, also one that waits.
#[derive(Debug)]
pub struct TokenStream {
    events: mpsc::Receiver<TokenEvent>,
    /// Counts streams dropped before their end, so that the engine looks for them.
    abandoned: Arc<AtomicU64>,
    cached_tokens: Arc<AtomicU32>,
    ended: bool,
}

impl TokenStream {
    /// Prompt tokens found in the prefix cache, known once the first token came.
    pub fn cached_tokens(&self) -> u32 {
        self.cached_tokens.load(Ordering::Relaxed)
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
        self.ended = !matches!(event, TokenEvent::Token(_));
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
    cached_tokens: Arc<AtomicU32>,
}

/// The reader has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abandoned;

impl TokenSink {
    /// Never waits: the channel has room for every event of the sequence.
    pub(crate) fn send(&self, event: TokenEvent) -> Result<(), Abandoned> {
        self.events.try_send(event).map_err(|_| Abandoned)
    }

    /// Before the first token.
    pub(crate) fn set_cached_tokens(&self, tokens: u32) {
        self.cached_tokens.store(tokens, Ordering::Relaxed);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }
}

/// A stream that holds `tokens_max` tokens and the final event.
pub(crate) fn token_channel(tokens_max: u32, abandoned: &Arc<AtomicU64>) -> (TokenSink, TokenStream) {
    let (sender, receiver) = mpsc::channel(tokens_max as usize + 1);
    let cached_tokens = Arc::<AtomicU32>::default();
    let sink = TokenSink { events: sender, cached_tokens: cached_tokens.clone() };
    let stream = TokenStream { events: receiver, abandoned: abandoned.clone(), cached_tokens, ended: false };
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
        assert!(sink.is_abandoned());
        assert_eq!(sink.send(token(1)), Err(Abandoned));
        assert_eq!(abandoned.load(Ordering::Acquire), 1);
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
