//! The handle that callers hold: checks and submits generations, answers what the engine is and does.
//!
//! The model, its cache, the scheduler and the samplers live on one thread (`step_loop`), reached by a bounded channel.

mod start;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::info::{LoadProgress, ModelInfo};
use crate::load;
use crate::options::EngineOptions;
use crate::request::{Generation, StopRules, TokenEvent, TokenId};
use crate::sample::{Sampler, SamplerError, SamplerOptions};
use crate::stats::{EngineHealth, EngineStats, StatsBoard};
use crate::step_loop::panic_text;
use crate::stream::{TokenSink, TokenStream, token_channel};
use crate::text::TextModel;
use start::{News, serve};

pub use start::{EngineParts, LoadError};

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
    #[error(
        "min_tokens = {min_tokens} is above {tokens_max}, what max_tokens and the context leave for the answer"
    )]
    MinTokens { min_tokens: u32, tokens_max: u32 },
    #[error(transparent)]
    Sampling(#[from] SamplerError),
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

/// A checked generation on its way to the engine's thread.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) prompt: Arc<[TokenId]>,
    pub(crate) max_tokens: u32,
    pub(crate) end_tokens: Arc<[TokenId]>,
    pub(crate) cache_salt: u64,
    pub(crate) sampler: Sampler,
    pub(crate) sink: TokenSink,
    pub(crate) place: Place,
    pub(crate) submitted: Instant,
}

/// A place among the live sequences, free again when dropped.
#[derive(Debug)]
pub(crate) struct Place(pub(crate) Arc<AtomicUsize>);

impl Engine {
    /// Loads a model and serves it. Blocks until it is loaded; `progress` is called on this thread.
    pub fn load(options: EngineOptions, progress: &dyn Fn(LoadProgress)) -> Result<Engine, LoadError> {
        Engine::start(move |report| load::load(&options, report), progress)
    }

    /// Builds a model on a new thread and serves it there, in the caller's span of `tracing`. Waits until it is built,
    /// passing on its progress.
    pub fn start(
        build: impl FnOnce(&dyn Fn(LoadProgress)) -> Result<EngineParts, LoadError> + Send + 'static,
        progress: &dyn Fn(LoadProgress),
    ) -> Result<Engine, LoadError> {
        let began = Instant::now();
        let (news_sender, news) = mpsc::channel();
        let span = tracing::Span::current();
        let body = move || span.in_scope(|| serve(build, &news_sender));
        let thread =
            thread::Builder::new().name("ostro-engine".to_owned()).spawn(body).map_err(LoadError::Thread)?;
        loop {
            match news.recv() {
                Ok(News::Progress(step)) => progress(step),
                Ok(News::Ready(mut shared)) => {
                    shared.info.load_seconds = began.elapsed().as_secs_f64();
                    shared.thread = Mutex::new(Some(thread));
                    return Ok(Engine { shared: Arc::from(shared) });
                }
                Ok(News::Failed(error)) => {
                    let _ = thread.join();
                    return Err(error);
                }
                Err(_) => {
                    let panic = thread.join().expect_err("a thread that ends without news has panicked");
                    return Err(LoadError::Panic(panic_text(panic.as_ref()).to_owned()));
                }
            }
        }
    }

    /// Queues a sequence and returns at once.
    pub fn submit(&self, generation: Generation) -> Result<TokenStream, SubmitError> {
        let shared = &self.shared;
        let max_tokens = shared.check(&generation)?;
        let place = shared.enter()?;
        let end_tokens = shared.end_tokens(&generation.stop);
        let sampler = Sampler::new(SamplerOptions {
            seed: generation.sampling.seed.unwrap_or_else(random_seed),
            sampling: generation.sampling,
            vocab_size: shared.info.vocab_size as usize,
            end_tokens: end_tokens.clone(),
            min_tokens: generation.stop.min_tokens,
            logprobs: generation.logprobs,
        })?;
        let (sink, stream) = token_channel(max_tokens, &shared.abandoned);
        let (prompt, cache_salt, submitted) = (generation.prompt, generation.cache_salt, Instant::now());
        let submission =
            Submission { prompt, max_tokens, end_tokens, cache_salt, sampler, sink, place, submitted };
        // The channel has room for every live sequence, so it refuses only when nobody reads it any more.
        let sent = shared.commands.try_send(Command::Submit(Box::new(submission)));
        sent.map(|()| stream).map_err(|_| SubmitError::Unavailable("its thread has ended".to_owned()))
    }

    /// Whether so many sequences would be queued now. Others may come first: `submit` decides.
    pub fn has_room(&self, sequences: usize) -> bool {
        let Shared { live, live_max, .. } = &*self.shared;
        // Who is refused is among the live ones for a moment.
        sequences == 0 || live.load(Ordering::Acquire).saturating_add(sequences) <= *live_max
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
        let tokens_max = generation.stop.max_tokens.min(context_len - prompt_tokens as u32);
        let min_tokens = generation.stop.min_tokens;
        if min_tokens > tokens_max {
            return Err(SubmitError::MinTokens { min_tokens, tokens_max });
        }
        Ok(tokens_max)
    }

    /// Takes a place among the live sequences.
    fn enter(&self) -> Result<Place, SubmitError> {
        match self.board.health() {
            EngineHealth::Running => {}
            EngineHealth::Stopped => return Err(SubmitError::Unavailable("it was stopped".to_owned())),
            EngineHealth::Failed(reason) => return Err(SubmitError::Unavailable(reason)),
        }
        let live = self.live.fetch_add(1, Ordering::AcqRel);
        let place = Place(self.live.clone());
        match live < self.live_max {
            true => Ok(place),
            false => Err(SubmitError::QueueFull { live }),
        }
    }

    fn end_tokens(&self, stop: &StopRules) -> Arc<[TokenId]> {
        let model: &[TokenId] = if stop.ignore_eos { &[] } else { self.text.eos_ids() };
        model.iter().chain(&stop.token_ids).copied().collect()
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

impl Submission {
    /// Ends it with a failure; a reader that has gone needs none.
    pub(crate) fn refuse(self, reason: &str) {
        let Submission { sink, place, .. } = self;
        drop(place);
        let _ = sink.send(TokenEvent::Failed(reason.to_owned()));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A seed for those who gave none; the standard library's own source of randomness.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
