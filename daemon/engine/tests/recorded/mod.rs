//! Runs of engines whose rows of logits are remembered, by settings.
#![allow(unreachable_pub)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ostro_engine::load::load;
use ostro_engine::request::{Generation, Sampling, StopRules, TokenId};
use ostro_engine::schedule::StepPlan;
use ostro_engine::{
    CacheSize, Engine, EngineOptions, EngineStats, ForwardError, Isa, Logits, Model, ScheduleOptions,
};

use super::models::read;

/// Rows by sequence and position.
pub type Rows = BTreeMap<(u64, u32), Row>;

#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// FNV-1a of its bits.
    pub hash: u64,
    /// Rows of logits in its step.
    pub together: usize,
}

/// Asks for all logits, also where only the largest are wanted, and remembers their bits.
struct Recorder {
    model: Box<dyn Model>,
    rows: Arc<Mutex<Rows>>,
}

impl Model for Recorder {
    fn forward(&mut self, plan: &StepPlan) -> Result<Logits<'_>, ForwardError> {
        let mut whole = plan.clone();
        whole.set_best_only(false);
        let mut logits = self.model.forward(&whole)?;
        let mut rows = self.rows.lock().unwrap();
        for (index, sample) in plan.samples().iter().enumerate() {
            let row = plan.rows()[sample.row as usize];
            let mix =
                |hash: u64, value: &f32| (hash ^ u64::from(value.to_bits())).wrapping_mul(0x100_0000_01b3);
            let hash = logits.row_mut(index).unwrap().iter().fold(0xcbf2_9ce4_8422_2325, mix);
            rows.insert((sample.sequence.0, row.position), Row { hash, together: plan.samples().len() });
        }
        Ok(logits)
    }
}

/// How a run differs from the plainest one.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub threads: usize,
    pub isa: Isa,
    pub temperature: f32,
    pub block_size: u32,
    /// Tokens of all sequences together.
    pub cache_tokens: u64,
    pub schedule: ScheduleOptions,
}

/// One thread, one sequence at a time, nothing shared, prompts in one piece.
pub fn lone() -> Setting {
    Setting {
        threads: 1,
        isa: Isa::detect(),
        temperature: 1.0,
        block_size: 32,
        cache_tokens: 16 * 1024,
        schedule: ScheduleOptions {
            sequences_max: 1,
            waiting_max: 64,
            tokens_per_step: Some(512),
            prompt_tokens_beside_decode: Some(512),
            prefix_cache_n: 0,
            prompt_lookup_n: Some(0),
        },
    }
}

pub fn crowd() -> Setting {
    let schedule =
        ScheduleOptions { sequences_max: 16, prompt_tokens_beside_decode: Some(100), ..lone().schedule };
    Setting { threads: 2, schedule, ..lone() }
}

pub fn chunks(tokens_per_step: usize) -> Setting {
    let schedule = ScheduleOptions {
        tokens_per_step: Some(tokens_per_step),
        prompt_tokens_beside_decode: Some(tokens_per_step),
        ..crowd().schedule
    };
    Setting { schedule, ..crowd() }
}

pub struct Run {
    /// Of the first round, when there are more.
    pub first: Rows,
    /// Of the last round, sequence `i` of which is reported as `i`.
    pub rows: Rows,
    pub answers: Vec<Vec<TokenId>>,
    pub stats: EngineStats,
}

/// All prompts of a round at once, round by round.
pub fn run(path: &Path, setting: &Setting, rounds: &[&[Vec<TokenId>]]) -> Run {
    let options = options(path, setting);
    let rows: Arc<Mutex<Rows>> = Arc::default();
    let seen = rows.clone();
    let record = move |report: &dyn Fn(_)| {
        let mut parts = load(&options, report)?;
        parts.model = Box::new(Recorder { model: parts.model, rows: seen });
        Ok(parts)
    };
    let engine = Engine::start(record, &|_| ()).unwrap();
    let mut answers = Vec::new();
    for prompts in rounds {
        answers = ask(&engine, setting, prompts);
    }
    let stats = engine.stats();
    drop(engine);
    let mut rows = std::mem::take(&mut *rows.lock().unwrap());
    let before: usize = rounds[..rounds.len() - 1].iter().map(|prompts| prompts.len()).sum();
    let last = rows.split_off(&(before as u64, 0));
    rows.retain(|(sequence, _), _| *sequence < rounds[0].len() as u64);
    let last =
        last.into_iter().map(|((sequence, position), row)| ((sequence - before as u64, position), row));
    Run { first: rows, rows: last.collect(), answers, stats }
}

/// All prompts at once, by an engine that computes no more than it needs.
pub fn answers(path: &Path, setting: &Setting, prompts: &[Vec<TokenId>]) -> Vec<Vec<TokenId>> {
    ask(&Engine::load(options(path, setting), &|_| ()).unwrap(), setting, prompts)
}

fn options(path: &Path, setting: &Setting) -> EngineOptions {
    let mut options = EngineOptions::new(path);
    options.threads = Some(setting.threads);
    options.isa = Some(setting.isa);
    options.cache.block_size = setting.block_size;
    options.cache.size = CacheSize::ContextLen(setting.cache_tokens);
    options.schedule = setting.schedule;
    options
}

fn ask(engine: &Engine, setting: &Setting, prompts: &[Vec<TokenId>]) -> Vec<Vec<TokenId>> {
    let streams: Vec<_> =
        prompts.iter().map(|prompt| engine.submit(generation(prompt, setting)).unwrap()).collect();
    streams.into_iter().map(read).collect()
}

/// Sampled, so that a wrong bit anywhere in a row has a chance to change the answer too.
fn generation(prompt: &[TokenId], setting: &Setting) -> Generation {
    Generation {
        prompt: prompt.into(),
        sampling: Sampling { seed: Some(5), temperature: setting.temperature, ..Sampling::default() },
        stop: StopRules { max_tokens: 24, ignore_eos: true, ..StopRules::default() },
        logprobs: None,
        cache_salt: 0,
    }
}
