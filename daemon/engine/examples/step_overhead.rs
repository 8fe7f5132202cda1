//! What a step costs besides the model: planning, booking, sampling. Prints the best of several rounds, in microseconds.
//!
//! `cargo run --release -p ostro-engine --example step_overhead`

use std::hint::black_box;
use std::time::{Duration, Instant};

use ostro_engine::Isa;
use ostro_engine::request::Sampling;
use ostro_engine::sample::{History, SampleInput, Sampler, SamplerOptions, Scratch};
use ostro_engine::schedule::{NewSequence, Scheduler, SchedulerOptions, StepPlan};

const ROUNDS: usize = 20;

fn main() {
    for sequences in [1, 16, 64] {
        println!("plan + advance, {sequences} decoding at 512 tokens: {:.1}", schedule(sequences, 512));
    }
    println!("plan + advance, 16 decoding at 8192 tokens: {:.1}", schedule(16, 8192));
    let greedy = Sampling::greedy();
    let plain = Sampling::default();
    let top_k = Sampling { top_k: Some(50), top_p: 0.95, ..plain.clone() };
    let top_p = Sampling { top_p: 0.95, ..plain.clone() };
    let min_p = Sampling { min_p: 0.05, ..plain.clone() };
    let penalties = Sampling { repetition_penalty: 1.1, frequency_penalty: 0.2, ..top_k.clone() };
    for vocab_size in [49_152, 151_936] {
        for (name, sampling) in [
            ("greedy", &greedy),
            ("softmax", &plain),
            ("top-k 50, top-p 0.95", &top_k),
            ("top-p 0.95", &top_p),
            ("min-p 0.05", &min_p),
            ("penalties, top-k, top-p", &penalties),
        ] {
            for (shape, spread) in [("peaked", 12.0), ("flat", 1.0)] {
                let time = sample(sampling, vocab_size, spread);
                println!("{name} over {vocab_size} {shape} logits: {time:.1}");
            }
        }
    }
}

fn microseconds(duration: Duration, count: usize) -> f64 {
    duration.as_secs_f64() * 1e6 / count as f64
}

/// A step of `sequences` that decode after prompts of `prompt` tokens.
fn schedule(sequences: u32, prompt: u32) -> f64 {
    const STEPS: usize = 50;
    let blocks_each = (prompt + (ROUNDS * STEPS) as u32) / 32 + 2;
    let options = SchedulerOptions {
        block_size: 32,
        blocks: sequences * blocks_each,
        context_len: 1 << 20,
        max_seqs: sequences as usize,
        tokens_per_step: 1 << 20,
        prompt_tokens_beside_decode: 1 << 20,
        waiting_max: sequences as usize,
        draft_tokens: 0,
        prefix_cache_n: 16,
        sources_apart: false,
    };
    let mut scheduler = Scheduler::new(options).expect("the options are in range");
    for sequence in 0..sequences {
        let prompt = (0..prompt).map(|token| token + sequence * prompt).collect();
        let new = NewSequence { prompt, max_tokens: 1 << 19, end_tokens: [2].into(), cache_salt: 0 };
        scheduler.submit(new).expect("it fits");
    }
    let (mut plan, mut outcomes) = (StepPlan::default(), Vec::new());
    let sampled = vec![Some(7); sequences as usize];
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..STEPS {
            scheduler.plan(&mut plan);
            scheduler.advance(&plan, &sampled, &mut outcomes);
        }
        best = best.min(microseconds(start.elapsed(), STEPS));
    }
    black_box(outcomes);
    best
}

/// One token from logits shaped like a model's: a sum of uniform numbers, and a few tokens that stand out.
fn sample(sampling: &Sampling, vocab_size: usize, spread: f32) -> f64 {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let mut logits: Vec<f32> =
        (0..vocab_size).map(|_| (uniform() + uniform() + uniform() - 1.5) * spread).collect();
    for top in 0..20 {
        logits[top * 997 + 5] += spread * (1.5 - top as f32 * 0.03);
    }
    let history: Vec<u32> = (0..1000).map(|token| token * 37 % vocab_size as u32).collect();
    let options = SamplerOptions {
        sampling: sampling.clone(),
        seed: 1,
        vocab_size,
        end_tokens: [2].into(),
        min_tokens: 0,
        logprobs: None,
    };
    let mut sampler = Sampler::new(options).expect("the settings are in range");
    let (mut scratch, mut buffer) = (Scratch::new(Isa::detect()), vec![0.0; vocab_size]);
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        buffer.copy_from_slice(&logits);
        let start = Instant::now();
        let input = SampleInput { logits: &mut buffer, history: History::new(&history, 500), allowed: None };
        let token = sampler.sample(input, &mut scratch).expect("the logits are finite");
        best = best.min(microseconds(start.elapsed(), 1));
        black_box(token);
    }
    best
}
