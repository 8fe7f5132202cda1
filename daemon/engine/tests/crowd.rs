//! Many readers of a tiny real model, some of whom leave: the others get the answers of lone runs, nothing stays behind.
#![allow(clippy::unwrap_used)]

mod common;

use common::{read, wait_for};
use ostro_engine::request::{Generation, Sampling, StopRules, TokenId};
use ostro_engine::tiny::{TinyFamily, TinyModel};
use ostro_engine::weights::WeightType;
use ostro_engine::{CacheSize, Engine, EngineOptions};

const PROMPTS: u64 = 12;

fn engine() -> Engine {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    TinyModel::new(TinyFamily::Qwen2).weight_type(WeightType::Q4_1).write_gguf(&path).unwrap();
    let mut options = EngineOptions::new(path);
    options.threads = Some(2);
    options.cache.size = CacheSize::ContextLen(1024);
    options.schedule.sequences_max = 16;
    options.schedule.tokens_per_step = Some(48);
    Engine::load(options, &|_| ()).unwrap()
}

/// Every second prompt begins like its neighbour; every third is sampled, half are asked for log probabilities.
fn generation(number: u64) -> Generation {
    let shared = common::prompt(number / 2, 70);
    let prompt: Vec<TokenId> = [shared, common::prompt(100 + number, number as usize * 5)].concat();
    let sampling = match number % 3 {
        0 => Sampling { seed: Some(number), ..Sampling::default() },
        _ => Sampling::greedy(),
    };
    Generation {
        prompt: prompt.into(),
        sampling,
        stop: StopRules { max_tokens: 30, ignore_eos: true, ..StopRules::default() },
        logprobs: (number % 4 < 2).then_some(2),
        cache_salt: 0,
    }
}

#[test]
fn readers_that_leave_change_nothing_for_others() {
    let engine = engine();
    let lone: Vec<_> =
        (0..PROMPTS).map(|number| read(engine.submit(generation(number)).unwrap()).tokens).collect();
    std::thread::scope(|scope| {
        for reader in 0..64u64 {
            let (engine, lone) = (engine.clone(), &lone);
            scope.spawn(move || {
                for round in 0..3 {
                    let number = (reader * 5 + round * 7) % PROMPTS;
                    let mut stream = engine.submit(generation(number)).unwrap();
                    if (reader + round) % 4 == 0 {
                        (0..reader % 7).for_each(|_| drop(stream.blocking_next()));
                        continue;
                    }
                    // Log probabilities too: tokens that differ in the last bit differ here.
                    assert_eq!(read(stream).tokens, lone[number as usize], "{number}");
                }
            });
        }
    });
    let stats = wait_for(&engine, "all ended", |stats| {
        stats.finished_length_total + stats.cancelled_total == PROMPTS + 192 && stats.blocks_used == 0
    });
    assert_eq!((stats.sequences_running, stats.sequences_waiting, stats.failed_total), (0, 0, 0));
    assert!(stats.cancelled_total > 0 && stats.prefix_hits_total > 0, "{stats:?}");
}

#[test]
fn copies_share_their_prompt_and_differ_by_seed() {
    let engine = engine();
    let copy = |seed| {
        let sampling = Sampling { seed: Some(seed), ..Sampling::default() };
        Generation { sampling, ..generation(1) }
    };
    let streams: Vec<_> = (0..4).map(|seed| engine.submit(copy(seed)).unwrap()).collect();
    let answers: Vec<_> = streams.into_iter().map(|stream| read(stream).ids()).collect();
    // 75 tokens: two full blocks of 32 are found by each of the three later copies.
    assert_eq!(engine.stats().prefix_hits_total, 3 * 64);
    for seed in 0..4 {
        assert_eq!(read(engine.submit(copy(seed)).unwrap()).ids(), answers[seed as usize]);
    }
    assert_ne!(answers[0], answers[1]);
}
