//! One measurement after another on an engine that does nothing else.

use std::sync::Arc;
use std::time::Instant;

use ostro_kernels::cpu::isa::Isa;
use ostro_kernels::cpu::plain_read::plain_read_seconds;

use super::summary::{Percentiles, median};
use super::{BenchError, BenchOptions, DecodeResult, PrefillResult};
use crate::engine::Engine;
use crate::info::ModelInfo;
use crate::request::{Generation, Sampling, StopRules, TokenEvent, TokenId, Usage};
use crate::stats::EngineStats;
use crate::stream::TokenStream;

/// Plain reads in turn with each repetition.
const READS: usize = 8;

/// The sequences of a small model may end before this thread has seen the last one begin.
const ATTEMPTS: u32 = 10;

pub(super) struct Measure<'a> {
    engine: &'a Engine,
    options: &'a BenchOptions,
    /// Prompts so far; each has other tokens and its own cache salt.
    prompts: u64,
}

#[derive(Clone)]
struct Prompt {
    tokens: Arc<[TokenId]>,
    cache_salt: u64,
}

/// One repetition of decoding.
struct DecodeRun {
    step_seconds: Vec<f64>,
    tokens_per_second: f64,
    overhead_fraction: f64,
}

impl<'a> Measure<'a> {
    pub(super) fn new(engine: &'a Engine, options: &'a BenchOptions) -> Self {
        Measure { engine, options, prompts: 0 }
    }

    pub(super) fn prefill(&mut self, prompt_tokens: u32) -> Result<PrefillResult, BenchError> {
        let (mut usages, mut steps) = (Vec::new(), 0);
        for repetition in 0..self.options.warmup + self.options.repetitions {
            let prompt = self.prompt(prompt_tokens);
            let before = self.engine.stats().steps_total;
            let usage = drain(&mut self.submit(&prompt, 1)?)?;
            steps = self.engine.stats().steps_total - before;
            if repetition >= self.options.warmup {
                usages.push(usage);
            }
        }
        let seconds = Percentiles::of(usages.iter().map(|usage| usage.prefill_seconds));
        let to_first = usages.iter().map(|usage| usage.queue_seconds + usage.prefill_seconds);
        let info = self.engine.info();
        let operations = 2 * info.layer_parameters * u64::from(prompt_tokens);
        Ok(PrefillResult {
            prompt_tokens,
            tokens_per_second: f64::from(prompt_tokens) / seconds.p50,
            seconds,
            first_token_seconds: Percentiles::of(to_first),
            steps,
            bytes_per_step: bytes_per_step(info, prompt_tokens, 1),
            operations,
            operations_per_second: operations as f64 / seconds.p50,
        })
    }

    pub(super) fn decode(&mut self, depth: u32, sequences: u32) -> Result<DecodeResult, BenchError> {
        let options = self.options;
        let prompts: Vec<Prompt> = (0..sequences).map(|_| self.prompt(depth.max(1))).collect();
        // Later submissions find their prompts in the prefix cache, where it is on and large enough.
        for prompt in &prompts {
            drain(&mut self.submit(prompt, 1)?)?;
        }
        let bytes_per_step = bytes_per_step(self.engine.info(), depth + options.decode_tokens / 2, sequences);
        let (mut runs, mut reads) = (Vec::new(), Vec::new());
        for repetition in 0..options.warmup + options.repetitions {
            let run = self.decode_together(&prompts, depth)?;
            if repetition >= options.warmup {
                runs.push(run);
                reads.extend(plain_reads(self.engine.info(), bytes_per_step)?);
            }
        }
        let step_seconds = Percentiles::of(runs.iter().flat_map(|run| run.step_seconds.iter().copied()));
        let bytes_per_second = bytes_per_step as f64 / step_seconds.p50;
        let ceiling_bytes_per_second = bytes_per_step as f64 / median(reads);
        Ok(DecodeResult {
            sequences,
            depth,
            decode_tokens: options.decode_tokens,
            tokens_per_second: median(runs.iter().map(|run| run.tokens_per_second)),
            step_seconds,
            overhead_fraction: median(runs.iter().map(|run| run.overhead_fraction)),
            bytes_per_step,
            bytes_per_second,
            ceiling_bytes_per_second,
            ceiling_share: bytes_per_second / ceiling_bytes_per_second,
        })
    }

    fn decode_together(&self, prompts: &[Prompt], depth: u32) -> Result<DecodeRun, BenchError> {
        for _ in 0..ATTEMPTS {
            if let Some(run) = self.decode_once(prompts, depth)? {
                return Ok(run);
            }
        }
        Err(BenchError::NeverTogether { sequences: prompts.len() as u32, depth })
    }

    /// From the last sequence's first token on, since all decode then; dropping the streams ends them. `None`: the
    /// first ended before the last was measured.
    fn decode_once(&self, prompts: &[Prompt], depth: u32) -> Result<Option<DecodeRun>, BenchError> {
        let (sequences, tokens) = (prompts.len() as u32, self.options.decode_tokens);
        let tokens_max = self.tokens_max(depth, sequences);
        let streams = prompts.iter().map(|prompt| self.submit(prompt, tokens_max));
        let mut streams = streams.collect::<Result<Vec<_>, _>>()?;
        for stream in &mut streams {
            if !next_token(stream)? {
                return Ok(None);
            }
        }
        let (began, before) = (Instant::now(), self.engine.stats());
        let last = streams.last_mut().expect("one sequence at least");
        let (mut step_seconds, mut previous) = (Vec::new(), began);
        // The first token is the prompt's.
        for _ in 1..tokens {
            if !next_token(last)? {
                return Ok(None);
            }
            let now = Instant::now();
            step_seconds.push((now - previous).as_secs_f64());
            previous = now;
        }
        let after = self.later_stats(&before);
        let together = |stats: &EngineStats| stats.sequences_running == u64::from(sequences);
        let apart = before.preemptions_total != after.preemptions_total;
        drop(streams);
        self.await_idle();
        if apart || !together(&before) || !together(&after) {
            return Ok(None);
        }
        let seconds = (previous - began).as_secs_f64();
        let in_steps = after.step_seconds_total - before.step_seconds_total;
        let in_model = after.forward_seconds_total - before.forward_seconds_total;
        Ok(Some(DecodeRun {
            tokens_per_second: f64::from(sequences) * step_seconds.len() as f64 / seconds,
            step_seconds,
            overhead_fraction: 1.0 - in_model / in_steps,
        }))
    }

    /// With one more step at least, while there are any: tokens that waited are read before a small model has made one.
    fn later_stats(&self, before: &EngineStats) -> EngineStats {
        loop {
            let stats = self.engine.stats();
            if stats.steps_total > before.steps_total || stats.sequences_running == 0 {
                return stats;
            }
            std::thread::yield_now();
        }
    }

    /// All that each sequence has room for: the first decodes while the prompts of the others are computed.
    fn tokens_max(&self, depth: u32, sequences: u32) -> u32 {
        let info = self.engine.info();
        let blocks = info.cache.blocks / sequences.max(1);
        let room = blocks.saturating_mul(info.cache.block_size).min(info.context_len);
        room.saturating_sub(depth.max(1)).max(self.options.decode_tokens + 1)
    }

    fn prompt(&mut self, tokens: u32) -> Prompt {
        self.prompts += 1;
        let tokens = random_tokens(self.prompts, tokens, self.engine.info().vocab_size);
        Prompt { tokens, cache_salt: self.prompts }
    }

    fn submit(&self, prompt: &Prompt, max_tokens: u32) -> Result<TokenStream, BenchError> {
        let generation = Generation {
            prompt: prompt.tokens.clone(),
            sampling: Sampling::greedy(),
            stop: StopRules { max_tokens, ignore_eos: true, ..StopRules::default() },
            logprobs: None,
            cache_salt: prompt.cache_salt,
        };
        Ok(self.engine.submit(generation)?)
    }

    /// What was cancelled ends after the step that runs; nothing of it may lie in the next measurement.
    fn await_idle(&self) {
        while self.engine.stats().sequences_running > 0 {
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
    }
}

fn bytes_per_step(info: &ModelInfo, positions: u32, sequences: u32) -> u64 {
    let room = u64::from(info.cache.blocks) * u64::from(info.cache.block_size);
    let bytes_per_position = info.cache.bytes / room.max(1);
    info.step_weight_bytes + bytes_per_position * u64::from(positions) * u64::from(sequences)
}

fn plain_reads(info: &ModelInfo, bytes: u64) -> Result<Vec<f64>, BenchError> {
    if let Some(rate) = info.nominal_bytes_per_second {
        return Ok(vec![bytes as f64 / rate]);
    }
    let isa = Isa::from_name(&info.instruction_set).unwrap_or_else(|_| Isa::detect());
    Ok(plain_read_seconds(isa, info.threads, bytes as usize, READS)?)
}

/// Whether there was one before the end.
fn next_token(stream: &mut TokenStream) -> Result<bool, BenchError> {
    match stream.blocking_next() {
        Some(TokenEvent::Token(_)) => Ok(true),
        Some(TokenEvent::Finished(_)) | None => Ok(false),
        Some(TokenEvent::Failed(reason)) => Err(BenchError::Failed(reason)),
    }
}

fn drain(stream: &mut TokenStream) -> Result<Usage, BenchError> {
    loop {
        match stream.blocking_next() {
            Some(TokenEvent::Token(_)) => {}
            Some(TokenEvent::Finished(finished)) => return Ok(finished.usage),
            Some(TokenEvent::Failed(reason)) => return Err(BenchError::Failed(reason)),
            None => return Err(BenchError::Failed("its stream has ended already".to_owned())),
        }
    }
}

fn random_tokens(seed: u64, count: u32, vocab_size: u32) -> Arc<[TokenId]> {
    let mut state = seed;
    let mut next = || {
        // Knuth's MMIX generator; its high bits are random enough for tokens.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % u64::from(vocab_size)) as TokenId
    };
    (0..count).map(|_| next()).collect()
}
