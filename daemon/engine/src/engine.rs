//! The handle that callers hold: checks and submits generations, answers what the engine is and does.
//!
//! The model, its cache, the scheduler and the samplers live on one thread (`step_loop`), reached by a bounded channel.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::info::ModelInfo;
use crate::request::{Generation, TokenId};
use crate::stats::{EngineHealth, EngineStats, StatsBoard};
use crate::stream::{TokenSink, TokenStream, token_channel};
use crate::text::TextModel;

/// Cheap to clone. When the last clone is dropped the engine stops, what runs fails, and its thread is joined.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// Why a generation was not accepted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SubmitError {
    #[error("the prompt is empty")]
    EmptyPrompt,
    #[error("max_tokens must be at least 1")]
    NoTokens,
    #[error("the prompt holds token {token}, the vocabulary has {vocab_size}")]
    UnknownToken { token: TokenId, vocab_size: u32 },
    #[error("the prompt has {prompt_tokens} tokens, the context holds {context_len} with the answer")]
    ContextExceeded { prompt_tokens: usize, context_len: u32 },
    #[error("{live} sequences run or wait already")]
    QueueFull { live: usize },
    #[error("the engine does not accept work: {0}")]
    Unavailable(String),
}

#[derive(Debug)]
struct Shared {
    info: ModelInfo,
    text: Arc<TextModel>,
    commands: SyncSender<Command>,
    board: Arc<StatsBoard>,
    abandoned: Arc<AtomicU64>,
    /// Sequences accepted and not ended.
    live: Arc<AtomicUsize>,
    live_max: usize,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// All that the engine's thread is ever told.
#[derive(Debug)]
pub(crate) enum Command {
    Submit(Box<Submission>),
    Stop,
}

#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) generation: Generation,
    pub(crate) sink: TokenSink,
    pub(crate) submitted: Instant,
}

impl Engine {
    /// Queues a sequence and returns at once.
    pub fn submit(&self, generation: Generation) -> Result<TokenStream, SubmitError> {
        let shared = &self.shared;
        let tokens_max = shared.check(&generation)?;
        let (sink, stream) = token_channel(tokens_max, &shared.abandoned);
        shared.enter()?;
        let submission = Submission { generation, sink, submitted: Instant::now() };
        // The channel has a place for every live sequence, so it is full only when nobody reads it any more.
        match shared.commands.try_send(Command::Submit(Box::new(submission))) {
            Ok(()) => Ok(stream),
            Err(_) => {
                shared.live.fetch_sub(1, Ordering::AcqRel);
                Err(SubmitError::Unavailable("its thread has ended".to_owned()))
            }
        }
    }

    pub fn info(&self) -> &ModelInfo {
        &self.shared.info
    }

    /// Tokeniser and chat template; outlives the engine.
    pub fn text(&self) -> &Arc<TextModel> {
        &self.shared.text
    }

    pub fn stats(&self) -> EngineStats {
        self.shared.board.read()
    }

    /// Fails what runs or waits and joins the engine's thread. Later submissions are refused.
    pub fn shutdown(&self) {
        self.shared.stop();
    }
}

impl Shared {
    /// Most tokens the answer can have.
    fn check(&self, generation: &Generation) -> Result<u32, SubmitError> {
        let (context_len, vocab_size) = (self.info.context_len, self.info.vocab_size);
        let prompt_tokens = generation.prompt.len();
        if prompt_tokens == 0 {
            return Err(SubmitError::EmptyPrompt);
        }
        if generation.stop.max_tokens == 0 {
            return Err(SubmitError::NoTokens);
        }
        if prompt_tokens >= context_len as usize {
            return Err(SubmitError::ContextExceeded { prompt_tokens, context_len });
        }
        if let Some(&token) = generation.prompt.iter().find(|token| **token >= vocab_size) {
            return Err(SubmitError::UnknownToken { token, vocab_size });
        }
        Ok(generation.stop.max_tokens.min(context_len - prompt_tokens as u32))
    }

    /// Takes a place among the live sequences.
    fn enter(&self) -> Result<(), SubmitError> {
        match self.board.health() {
            EngineHealth::Running => {}
            EngineHealth::Stopped => return Err(SubmitError::Unavailable("it was stopped".to_owned())),
            EngineHealth::Failed(reason) => return Err(SubmitError::Unavailable(reason)),
        }
        let live = self.live.fetch_add(1, Ordering::AcqRel);
        if live >= self.live_max {
            self.live.fetch_sub(1, Ordering::AcqRel);
            return Err(SubmitError::QueueFull { live });
        }
        Ok(())
    }

    fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A send fails only when the thread has ended already.
            let _ = self.commands.send(Command::Stop);
            let _ = thread.join();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}
