//! What a step costs besides the model: planning, booking, sampling. Prints the best of several rounds, in microseconds.
//!
//! `cargo run --release -p ostro-engine --example step_overhead`

use std::hint::black_box;
use std::time::{Duration, Instant};

use ostro_engine::Isa;
use ostro_engine::request::Sampling;
use ostro_engine::sample::{History, SampleInput, Sampler, SamplerOptions, Scratch};
use ostro_engine::schedule::{NewSequence, Scheduler, SchedulerOptions, StepPlan};
use ostro_kernels::cpu::pool::Pool;

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
                let time = sample(sampling, Rows { count: 1, vocab_size, spread }, 1);
                println!("{name} over {vocab_size} {shape} logits: {time:.1}");
            }
        }
        for (shape, spread) in [("steep", 120.0), ("peaked", 12.0), ("broad", 3.0), ("equal", 0.0)] {
            for threads in [1, 2] {
                let rows = Rows { count: 16, vocab_size, spread };
                let time = sample(&top_p, rows, threads);
                println!(
                    "top-p 0.95 over 16 rows of {vocab_size} {shape} logits, threads {threads}: {time:.1}"
                );
            }
        }
    }
}

/// The logits of a step.
#[derive(Clone, Copy)]
struct Rows {
    count: usize,
    vocab_size: usize,
    /// By how much logits differ: by 120 most weights are 0, by 0 all are 1.
    spread: f32,
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
        opening: Vec::new(),
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

/// A token of each row.
fn sample(sampling: &Sampling, rows: Rows, threads: usize) -> f64 {
    let history: Vec<u32> = (0..1000).map(|token| token * 37 % rows.vocab_size as u32).collect();
    let logits: Vec<_> = (0..rows.count as u64).map(|row| logits(row, rows)).collect();
    let sampler = |row| (sampler(sampling, row, rows.vocab_size), Vec::new());
    let mut turns: Vec<_> = (0..rows.count as u64).map(sampler).collect();
    let mut scratches: Vec<_> = (0..threads).map(|_| Scratch::new(Isa::detect())).collect();
    let mut pool = Pool::new(threads);
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        turns.iter_mut().zip(&logits).for_each(|((_, buffer), logits)| buffer.clone_from(logits));
        let start = Instant::now();
        pool.for_each(&mut turns, &mut scratches, |(sampler, logits), scratch| {
            let input = SampleInput { logits, history: History::new(&history, 500), allowed: None };
            black_box(sampler.sample(input, scratch).expect("the logits are finite"));
        });
        best = best.min(microseconds(start.elapsed(), 1));
    }
    best
}

/// Shaped like a model's: a sum of uniform numbers, and a few tokens that stand out.
fn logits(row: u64, Rows { vocab_size, spread, .. }: Rows) -> Vec<f32> {
    let mut state = row + 1;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let mut logits: Vec<f32> =
        (0..vocab_size).map(|_| (uniform() + uniform() + uniform() - 1.5) * spread).collect();
    for top in 0..20 {
        logits[top * 997 + 5] += spread * (1.5 - top as f32 * 0.03);
    }
    logits
}

fn sampler(sampling: &Sampling, seed: u64, vocab_size: usize) -> Sampler {
    let options = SamplerOptions {
        sampling: sampling.clone(),
        seed,
        vocab_size,
        end_tokens: [2].into(),
        min_tokens: 0,
        logprobs: None,
    };
    Sampler::new(options).expect("the settings are in range")
}
