//! The same bits whatever surrounds a sequence: every logit row of a lone run comes out again in a batch of 16, after
//! prefix hits, after preemption, with drafts, with other chunks, blocks, threads and instruction sets (those with a
//! matrix unit among themselves).
#![allow(clippy::unwrap_used)]

mod models;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use models::{QWEN_CODER, RealModel, SMOLLM2, STORIES, read};
use ostro_engine::load::load;
use ostro_engine::request::{Generation, Sampling, StopRules, TokenId};
use ostro_engine::schedule::StepPlan;
use ostro_engine::tiny::{TinyFamily, TinyHead, TinyModel};
use ostro_engine::weights::WeightType;
use ostro_engine::{
    CacheSize, Engine, EngineOptions, EngineStats, ForwardError, Isa, Logits, Model, ScheduleOptions,
};

/// FNV-1a of a row's bits, by sequence and position.
type Bits = BTreeMap<(u64, u32), u64>;

/// Passes everything through and remembers the logits' bits.
struct Recorder {
    model: Box<dyn Model>,
    bits: Arc<Mutex<Bits>>,
}

impl Model for Recorder {
    fn forward(&mut self, plan: &StepPlan) -> Result<Logits<'_>, ForwardError> {
        let mut logits = self.model.forward(plan)?;
        let mut bits = self.bits.lock().unwrap();
        for (index, sample) in plan.samples().iter().enumerate() {
            let row = plan.rows()[sample.row as usize];
            let mix =
                |hash: u64, value: &f32| (hash ^ u64::from(value.to_bits())).wrapping_mul(0x100_0000_01b3);
            let hash = logits.row_mut(index).unwrap().iter().fold(0xcbf2_9ce4_8422_2325, mix);
            bits.insert((sample.sequence.0, row.position), hash);
        }
        Ok(logits)
    }
}

/// How a run differs from the plainest one.
#[derive(Clone, Copy, Debug)]
struct Setting {
    threads: usize,
    isa: Isa,
    temperature: f32,
    block_size: u32,
    /// Tokens of all sequences together.
    cache_tokens: u64,
    schedule: ScheduleOptions,
}

/// One thread, one sequence at a time, nothing shared, prompts in one piece.
fn lone() -> Setting {
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

fn crowd() -> Setting {
    let schedule =
        ScheduleOptions { sequences_max: 16, prompt_tokens_beside_decode: Some(100), ..lone().schedule };
    Setting { threads: 2, schedule, ..lone() }
}

fn chunks(tokens_per_step: usize) -> Setting {
    let schedule = ScheduleOptions {
        tokens_per_step: Some(tokens_per_step),
        prompt_tokens_beside_decode: Some(tokens_per_step),
        ..crowd().schedule
    };
    Setting { schedule, ..crowd() }
}

struct Run {
    bits: Bits,
    answers: Vec<Vec<TokenId>>,
    stats: EngineStats,
}

/// All prompts of a round at once, round by round; sequence `i` of the last one is reported as `i`.
fn run(path: &Path, setting: &Setting, rounds: &[&[Vec<TokenId>]]) -> Run {
    let mut options = EngineOptions::new(path);
    options.threads = Some(setting.threads);
    options.isa = Some(setting.isa);
    options.cache.block_size = setting.block_size;
    options.cache.size = CacheSize::ContextLen(setting.cache_tokens);
    options.schedule = setting.schedule;
    let bits: Arc<Mutex<Bits>> = Arc::default();
    let seen = bits.clone();
    let record = move |report: &dyn Fn(_)| {
        let mut parts = load(&options, report)?;
        parts.model = Box::new(Recorder { model: parts.model, bits: seen });
        Ok(parts)
    };
    let engine = Engine::start(record, &|_| ()).unwrap();
    let mut answers = Vec::new();
    for prompts in rounds {
        let streams: Vec<_> =
            prompts.iter().map(|prompt| engine.submit(generation(prompt, setting)).unwrap()).collect();
        answers = streams.into_iter().map(read).collect();
    }
    let stats = engine.stats();
    drop(engine);
    let first: usize = rounds[..rounds.len() - 1].iter().map(|prompts| prompts.len()).sum();
    let first = first as u64;
    let last_round = bits.lock().unwrap().split_off(&(first, 0));
    let bits =
        last_round.into_iter().map(|((sequence, position), hash)| ((sequence - first, position), hash));
    Run { bits: bits.collect(), answers, stats }
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

/// 16 prompts of 1 to `longest` tokens; half of them begin alike.
fn prompts(longest: usize, vocab_size: u32) -> Vec<Vec<TokenId>> {
    let token = |seed: usize, index: usize| {
        let mixed = ((seed * 7919 + index + 1) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((mixed >> 33) % u64::from(vocab_size)) as TokenId
    };
    (0..16)
        .map(|i| {
            let length = 1 + (longest - 1) * (i * i * i) / 3375;
            (0..length).map(|index| token(if i % 2 == 0 && index < 96 { 0 } else { i }, index)).collect()
        })
        .collect()
}

/// The lone run on the best instruction set, or on the best without a matrix unit.
fn expected(path: &Path, prompts: &[Vec<TokenId>], has_matrix_unit: bool) -> Run {
    let like = |isa: &Isa| isa.has_matrix_unit() == has_matrix_unit;
    let isa = Isa::supported().into_iter().rfind(like).expect("asked for what a setting has");
    let run = run(path, &Setting { isa, ..lone() }, &[prompts]);
    assert_eq!(run.bits.len(), prompts.len() * 24);
    run
}

fn assert_same(name: &str, found: &Run, expected: &Run) {
    for (place, hash) in &expected.bits {
        assert_eq!(found.bits.get(place), Some(hash), "{name}: sequence and position {place:?}");
    }
    assert_eq!(found.answers, expected.answers, "{name}");
}

/// Runs each setting and compares every row with the lone run's.
fn check(path: &Path, prompts: &[Vec<TokenId>], settings: &[(&str, Setting)]) {
    let mut known: BTreeMap<bool, Run> = BTreeMap::new();
    for (name, setting) in settings {
        let has_unit = setting.isa.has_matrix_unit();
        let expected = known.entry(has_unit).or_insert_with(|| expected(path, prompts, has_unit));
        let is_sharing = setting.schedule.prefix_cache_n > 0;
        let rounds = [prompts, prompts];
        let found = run(path, setting, if is_sharing { &rounds } else { &rounds[..1] });
        assert_same(name, &found, expected);
        if is_sharing {
            assert!(found.stats.prefix_hits_total > 0, "{name}: {:?}", found.stats);
        }
        if setting.cache_tokens < 16 * 1024 {
            assert!(found.stats.preemptions_total > 0, "{name}: {:?}", found.stats);
        }
    }
}

fn drafting(setting: Setting) -> Setting {
    let schedule = ScheduleOptions { sequences_max: 2, prompt_lookup_n: Some(11), ..setting.schedule };
    Setting { schedule, ..setting }
}

/// Texts that repeat themselves, answered greedily, so that drafts are often right, and end in the middle of a
/// repetition, so that some are not, as the number of wrong ones tells.
fn check_drafts(path: &Path, vocab_size: u32, sets: &[Isa]) -> u64 {
    let mut wrong = 0;
    let repeated = |prompt: &Vec<_>| [&prompt.repeat(5), &prompt[..prompt.len().div_ceil(2)]].concat();
    let prompts: Vec<_> = prompts(30, vocab_size).iter().step_by(3).map(repeated).collect();
    for &isa in sets {
        let lone = Setting { isa, temperature: 0.0, ..lone() };
        let expected = run(path, &lone, &[&prompts]);
        for setting in [drafting(lone), drafting(Setting { threads: 2, ..sharing(lone) })] {
            let found = run(path, &setting, &[&prompts]);
            assert_same(&format!("drafts, {isa}"), &found, &expected);
            let stats = &found.stats;
            assert!(stats.accepted_tokens_total > 0, "{stats:?}");
            wrong += stats.draft_tokens_total - stats.accepted_tokens_total;
        }
    }
    wrong
}

fn sharing(setting: Setting) -> Setting {
    Setting { schedule: ScheduleOptions { prefix_cache_n: 64, ..setting.schedule }, ..setting }
}

/// `longest`: of the prompts; the model's context may be short.
fn check_real(model: RealModel, vocab_size: u32, longest: usize) {
    let Some(path) = model.path() else { return };
    let mut settings = vec![
        ("batch of 16", crowd()),
        ("batch of 16, one thread", Setting { threads: 1, ..crowd() }),
        ("prefix hits", sharing(crowd())),
        ("preemption", Setting { cache_tokens: 512, ..crowd() }),
        ("chunks of 37", chunks(37)),
    ];
    if let Ok(avx2) = Isa::from_name("avx2") {
        settings.push(("AVX2", Setting { isa: avx2, ..crowd() }));
    }
    check(&path, &prompts(longest, vocab_size), &settings);
    assert!(check_drafts(&path, vocab_size, &[Isa::detect()]) > 0);
}

#[test]
fn smollm2_rows_keep_their_bits() {
    check_real(SMOLLM2, 49_152, 300);
}

#[test]
fn qwen_coder_rows_keep_their_bits() {
    check_real(QWEN_CODER, 151_646, 300);
}

#[test]
fn stories15m_rows_keep_their_bits() {
    check_real(STORIES, 32_000, 230);
}

/// Turn after turn of conversations with the prefix cache, against their last turns alone.
fn check_conversations(path: &Path, isa: Isa) {
    let turn = |of: &[Vec<TokenId>], answers: &[Vec<TokenId>]| -> Vec<Vec<TokenId>> {
        let joined =
            of.iter().zip(answers).map(|(prompt, answer)| [prompt, &answer[..], &[5, 6, 7]].concat());
        joined.collect()
    };
    let setting = Setting { isa, ..crowd() };
    let first = prompts(150, 300);
    let second = turn(&first, &run(path, &setting, &[&first]).answers);
    let third = turn(&second, &run(path, &setting, &[&second]).answers);
    let expected = run(path, &setting, &[&third]);
    let found = run(path, &sharing(setting), &[&first, &second, &third]);
    assert_same(&format!("conversations, {isa}"), &found, &expected);
    assert!(found.stats.prefix_hits_total > 0, "{:?}", found.stats);
}

fn check_tiny(model: &TinyModel) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    model.write_gguf(&path).unwrap();
    let preempting = Setting { cache_tokens: 512, ..crowd() };
    let mut settings = vec![
        ("prefix hits", sharing(crowd())),
        ("preemption", preempting),
        ("preemption and prefix hits", sharing(Setting { cache_tokens: 512, ..crowd() })),
        ("chunks of 17", chunks(17)),
        ("chunks of 37, sharing", sharing(chunks(37))),
        ("blocks of 16", Setting { block_size: 16, ..crowd() }),
        ("blocks of 64", Setting { block_size: 64, ..crowd() }),
    ];
    for isa in Isa::supported() {
        for threads in [1, 2, 3] {
            settings.push((isa.name(), Setting { isa, threads, ..crowd() }));
        }
    }
    check(&path, &prompts(300, 300), &settings);
    Isa::supported().into_iter().for_each(|isa| check_conversations(&path, isa));
    check_drafts(&path, 300, &Isa::supported());
}

#[test]
fn tiny_llama_rows_keep_their_bits() {
    check_tiny(&TinyModel::new(TinyFamily::Llama).weight_type(WeightType::Q4_1).head(TinyHead::Tied));
}

#[test]
fn tiny_qwen2_rows_keep_their_bits() {
    check_tiny(&TinyModel::new(TinyFamily::Qwen2).weight_type(WeightType::Q8_0));
}

#[test]
fn tiny_qwen3_rows_keep_their_bits() {
    check_tiny(&TinyModel::new(TinyFamily::Qwen3));
}
