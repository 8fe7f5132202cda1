//! The running choices of one request, read as one sequence of pieces. Dropping it cancels what still runs.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::future::BoxFuture;
use ostro_engine::request::{
    Dry, Generation, Sampling, StopRules, TokenEvent, TokenId, Usage as EngineUsage,
};
use ostro_engine::sample::SamplerError;
use ostro_engine::text::{Special, StopStrings, TextModel};
use ostro_engine::{Engine, SubmitError, TokenStream};

use crate::admission::{Admission, Load, Permit, busy};
use crate::choice::{ChoiceRules, ChoiceText, Piece};
use crate::error::ApiError;
use crate::metrics::Observer;
use crate::models::LoadedModel;
use crate::openai::usage::Usage;
use crate::prompt::{self, PreparedPrompt};
use crate::validate::{Logprobs, ValidGeneration};

const DRY_BREAKERS: [&str; 4] = ["\n", ":", "\"", "*"];
/// Log probabilities in one answer, all of which may be kept until its end: 40 to 160 MiB, and some hundred MiB more as the
/// JSON of an answer that is not streamed. A single choice may fill its context with them.
const LOGPROBS_MAX: u64 = 1 << 22;

pub(crate) struct Answer {
    pub prompts: Vec<PreparedPrompt>,
    choices: Vec<Choice>,
    admission: Admission,
    /// When it is cancelled, whatever its engine does; `None` once it is.
    closed: Option<BoxFuture<'static, ()>>,
    observer: Observer,
    arrived: Instant,
    usage: Usage,
    /// Where the next look begins, so that no choice is read before all others every time.
    next: usize,
}

#[derive(Debug)]
struct Choice {
    text: ChoiceText,
    /// `None` once it has ended.
    stream: Option<TokenStream>,
    last_token: Option<Instant>,
}

/// What the request and the server say of an answer beside its prompts.
pub(crate) struct Order<'a> {
    pub model: &'a LoadedModel,
    pub generation: &'a ValidGeneration,
    pub admission: &'a Admission,
    pub observer: Observer,
    pub arrived: Instant,
}

impl Answer {
    /// Submits `n` sequences for each prompt; choices count over prompts first.
    ///
    /// # Errors
    /// A field that the model cannot honour, or an engine that is full or gone; then nothing runs on.
    pub(crate) fn submit(
        order: Order<'_>,
        prompts: Vec<PreparedPrompt>,
        permit: Permit,
    ) -> Result<Answer, ApiError> {
        let Order { model, generation, admission, observer, arrived } = order;
        let engine = &model.engine;
        prompt::check_vocabulary(engine, "logit_bias", generation.logit_bias().map(|(token, _)| token))?;
        prompt::check_vocabulary(engine, "stop_token_ids", generation.stop.token_ids.iter().copied())?;
        check_logprobs(engine, generation, &prompts)?;
        let rules = rules(engine.text(), generation);
        let dry = dry(engine.text(), generation)?;
        let mut choices = Vec::with_capacity(prompts.len() * generation.n);
        for prompt in &prompts {
            for index in 0..generation.n {
                let sampling = generation.sampling(index, &model.defaults);
                let sampling = Sampling { dry: dry.clone(), ..sampling };
                let stream = submit(engine, generation, sampling, &rules.end_tokens, prompt);
                let stream = stream.map_err(|error| admission.explain(error))?;
                let text = ChoiceText::new(rules.clone());
                choices.push(Choice { text, stream: Some(stream), last_token: None });
            }
        }
        drop(permit);
        // A prompt counts once, however many choices continue it.
        let prompt_tokens = prompts.iter().map(|prompt| prompt.tokens.len() as u64).sum();
        let usage = Usage::new(prompt_tokens, 0, 0);
        let (admission, closed) = (admission.clone(), Some(admission.closed()));
        Ok(Answer { prompts, choices, admission, closed, observer, arrived, usage, next: 0 })
    }

    pub(crate) fn choices(&self) -> usize {
        self.choices.len()
    }

    /// The prompt that choice `index` continues.
    pub(crate) fn prompt_of(&self, index: usize) -> &PreparedPrompt {
        &self.prompts[index * self.prompts.len() / self.choices.len()]
    }

    /// Tokens of the prompts, and of choices that have ended.
    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    /// Those of running choices too.
    pub(crate) fn usage_so_far(&self) -> Usage {
        let running = self.choices.iter().filter(|choice| choice.stream.is_some());
        let tokens: u64 = running.map(|choice| u64::from(choice.text.tokens())).sum();
        let usage = &self.usage;
        Usage::new(
            usage.prompt_tokens,
            usage.completion_tokens + tokens,
            usage.prompt_tokens_details.cached_tokens,
        )
    }

    /// The next piece of any choice, and `None` after all have ended.
    ///
    /// # Errors
    /// The engine failed, or the server ends; the answer is of no further use.
    pub(crate) async fn next(&mut self) -> Option<Result<(usize, Piece), ApiError>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<(usize, Piece), ApiError>>> {
        let count = self.choices.len();
        for offset in 0..count {
            let index = (self.next + offset) % count;
            if let Poll::Ready(piece) = self.poll_choice(index, context) {
                self.next = (index + 1) % count;
                let piece = piece.map(|piece| (index, piece));
                return Poll::Ready(Some(piece.map_err(|error| self.admission.explain(error))));
            }
        }
        if self.choices.iter().all(|choice| choice.stream.is_none()) {
            return Poll::Ready(None);
        }
        if self.closed.as_mut().is_some_and(|closed| closed.as_mut().poll(context).is_ready()) {
            self.closed = None;
            return Poll::Ready(Some(Err(ApiError::ShuttingDown)));
        }
        Poll::Pending
    }

    /// Ready with a piece that has something in it.
    fn poll_choice(&mut self, index: usize, context: &mut Context<'_>) -> Poll<Result<Piece, ApiError>> {
        let choice = &mut self.choices[index];
        while let Some(stream) = &mut choice.stream {
            let event = match stream.poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(event) => event,
            };
            match event {
                Some(TokenEvent::Token(token)) => {
                    let now = Instant::now();
                    match choice.last_token.replace(now) {
                        None => self.observer.first_token((now - self.arrived).as_secs_f64()),
                        Some(last) => self.observer.next_token((now - last).as_secs_f64()),
                    }
                    let Some(piece) = choice.text.push(token) else { continue };
                    if piece.finish.is_some() {
                        self.stopped_by_text(index);
                    }
                    return Poll::Ready(Ok(piece));
                }
                Some(TokenEvent::Finished(finished)) => {
                    choice.stream = None;
                    let piece = choice.text.finish(finished.reason);
                    self.ended(index, &finished.usage);
                    return Poll::Ready(Ok(piece));
                }
                Some(TokenEvent::Failed(reason)) => return Poll::Ready(Err(ApiError::Engine(reason))),
                None => return Poll::Ready(Err(ApiError::Engine("the answer ended early".into()))),
            }
        }
        Poll::Pending
    }

    /// The engine, which knows no texts, would go on.
    fn stopped_by_text(&mut self, index: usize) {
        let usage = self.choices[index].stream.take().map(TokenStream::stop).unwrap_or_default();
        self.ended(index, &usage);
    }

    fn ended(&mut self, index: usize, usage: &EngineUsage) {
        self.observer.finished(usage, self.arrived.elapsed().as_secs_f64());
        self.count(index, u64::from(usage.cached_tokens));
    }

    fn count(&mut self, index: usize, cached_tokens: u64) {
        let usage = &self.usage;
        // Of the choices that share a prompt, the later ones always find it: only the first says what was saved.
        let choices_per_prompt = self.choices.len() / self.prompts.len();
        let cached = if index.is_multiple_of(choices_per_prompt) { cached_tokens } else { 0 };
        self.usage = Usage::new(
            usage.prompt_tokens,
            usage.completion_tokens + u64::from(self.choices[index].text.tokens()),
            usage.prompt_tokens_details.cached_tokens + cached,
        );
    }
}

fn submit(
    engine: &Engine,
    request: &ValidGeneration,
    sampling: Sampling,
    end_tokens: &[TokenId],
    prompt: &PreparedPrompt,
) -> Result<TokenStream, ApiError> {
    let generation = Generation {
        prompt: prompt.tokens.clone(),
        sampling,
        stop: StopRules { token_ids: end_tokens.to_vec(), ..request.stop },
        logprobs: request.logprobs.map(|logprobs| logprobs.top),
        cache_salt: request.cache_salt,
    };
    engine.submit(generation).map_err(|error| match error {
        SubmitError::QueueFull { .. } => {
            let stats = engine.stats();
            busy(Load { running: stats.sequences_running, waiting: stats.sequences_waiting })
        }
        SubmitError::ContextExceeded { .. } => {
            prompt::too_long(engine.info().context_len, prompt.param, &error.to_string())
        }
        // Also of a text: a tokeniser may have more tokens than the model.
        SubmitError::UnknownToken { .. } => ApiError::invalid(prompt.param, error.to_string()),
        SubmitError::MinTokens { .. } => {
            ApiError::ContextLength { param: "min_tokens", message: error.to_string() }
        }
        SubmitError::Sampling(SamplerError::OutOfRange { name, .. }) => {
            ApiError::invalid(name, error.to_string())
        }
        SubmitError::Sampling(_) => ApiError::malformed(error.to_string()),
        error => ApiError::Engine(error.to_string()),
    })
}

/// # Errors
/// The answer may have more log probabilities than are kept.
fn check_logprobs(
    engine: &Engine,
    generation: &ValidGeneration,
    prompts: &[PreparedPrompt],
) -> Result<(), ApiError> {
    let Some(Logprobs { top, param }) = generation.logprobs else { return Ok(()) };
    let (context, max_tokens) = (u64::from(engine.info().context_len), u64::from(generation.stop.max_tokens));
    let tokens_max =
        |prompt: &PreparedPrompt| context.saturating_sub(prompt.tokens.len() as u64).min(max_tokens);
    let tokens = generation.n as u64 * prompts.iter().map(tokens_max).sum::<u64>();
    let logprobs = tokens * (u64::from(top) + 1);
    let is_single = generation.n == 1 && prompts.len() == 1;
    if is_single || logprobs <= LOGPROBS_MAX {
        return Ok(());
    }
    let message = format!(
        "up to {tokens} tokens in all choices, each with its log probability and those of {top} likeliest tokens, are \
         {logprobs} log probabilities; at most {LOGPROBS_MAX} are kept: set max_tokens, or ask for fewer"
    );
    Err(ApiError::invalid(param, message))
}

fn rules(text: &Arc<TextModel>, generation: &ValidGeneration) -> ChoiceRules {
    let mut end_tokens = generation.stop.token_ids.clone();
    if !generation.stop.ignore_eos {
        end_tokens.extend_from_slice(text.eos_ids());
    }
    // An answer has no text of special tokens that a stop string could be found in.
    let named = generation.stop_strings.iter().filter_map(|stop| text.token_id(stop));
    end_tokens.extend(named.filter(|id| text.is_special(*id)));
    end_tokens.sort_unstable();
    ChoiceRules {
        text: text.clone(),
        stop_strings: Arc::new(StopStrings::new(&generation.stop_strings)),
        min_tokens: generation.stop.min_tokens,
        end_tokens: end_tokens.into(),
        return_token_ids: generation.delivery.return_token_ids,
    }
}

fn dry(text: &TextModel, generation: &ValidGeneration) -> Result<Option<Dry>, ApiError> {
    let Some(fields) = generation.dry() else { return Ok(None) };
    let usual = DRY_BREAKERS.map(str::to_owned);
    Ok(Some(Dry {
        multiplier: fields.multiplier,
        base: fields.base,
        allowed_length: fields.allowed_length,
        breakers: breakers(text, fields.breakers.unwrap_or(&usual))?,
    }))
}

/// DRY looks at tokens: a breaker text is stood for by its last token, as the sampler's source does.
fn breakers(text: &TextModel, spelt: &[String]) -> Result<Arc<[TokenId]>, ApiError> {
    let mut breakers: Vec<TokenId> = Vec::new();
    for breaker in spelt {
        let tokens = prompt::encode(text, &format!("a{breaker}"), Special::Keep, "dry_sequence_breakers")?;
        breakers.extend(tokens.last());
    }
    breakers.sort_unstable();
    breakers.dedup();
    Ok(breakers.into())
}

#[cfg(test)]
mod tests {
    use ostro_engine::text::{GgufVocabulary, TextOverrides};

    use super::*;

    #[test]
    fn a_special_token_is_a_breaker_as_a_whole() {
        let vocabulary = GgufVocabulary {
            model: "gpt2".into(),
            pre: Some("gpt-2".into()),
            tokens: ["<|end|>", "a", ":", ">", "::"].map(str::to_owned).into(),
            token_types: vec![3, 1, 1, 1, 1],
            merges: vec![": :".into()],
            ..GgufVocabulary::default()
        };
        let text = TextModel::from_gguf(&vocabulary, &TextOverrides::default()).unwrap();
        let breakers = |spelt: &str| breakers(&text, &[spelt.to_owned()]).unwrap();
        assert_eq!(*breakers("<|end|>"), [0]);
        assert_eq!(*breakers(":"), [2]);
    }
}
