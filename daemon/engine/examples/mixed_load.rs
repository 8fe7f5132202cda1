//! Throughput of 256 requests at once, prompts and answers of 100 to 1024 tokens each (the workload of nano-vllm's
//! bench.py): `cargo run --release -p ostro-engine --features cuda --example mixed_load -- MODEL [SEQUENCES]`.

use std::env;
use std::time::Instant;

use anyhow::{Context, Result};
use ostro_engine::request::{Generation, Sampling, StopRules, TokenEvent};
use ostro_engine::{Engine, EngineOptions};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const REQUESTS: usize = 256;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let mut options = EngineOptions::new(arguments.next().context("name a model")?);
    let sequences = arguments.next().map_or(Ok(256), |text| text.parse())?;
    options.schedule.sequences_max = sequences;
    options.schedule.tokens_per_step = Some(2048);
    options.schedule.prompt_tokens_beside_decode = Some(1024);
    options.context_len = Some(4096);
    let engine = Engine::load(options, &|_| ())?;
    println!("loaded in {:.1} s on {}", engine.info().load_seconds, engine.info().instruction_set);
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut between = |low: u64, high: u64| low + random.next_u64() % (high - low + 1);
    let mut streams = Vec::new();
    let (mut prompt_tokens, mut output_tokens) = (0, 0);
    let vocab = u64::from(engine.info().vocab_size);
    let began = Instant::now();
    for salt in 0..REQUESTS {
        let prompt: Vec<u32> =
            (0..between(100, 1024)).map(|_| between(0, vocab.min(10_000) - 1) as u32).collect();
        let max_tokens = between(100, 1024) as u32;
        prompt_tokens += prompt.len();
        streams.push(engine.submit(Generation {
            prompt: prompt.into(),
            sampling: Sampling::greedy(),
            stop: StopRules { max_tokens, ignore_eos: true, ..StopRules::default() },
            logprobs: None,
            cache_salt: salt as u64,
        })?);
    }
    for stream in &mut streams {
        while let Some(event) = stream.blocking_next() {
            match event {
                TokenEvent::Token(_) => output_tokens += 1,
                TokenEvent::Finished(_) => break,
                TokenEvent::Failed(reason) => anyhow::bail!("{reason}"),
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let stats = engine.stats();
    println!(
        "{REQUESTS} requests, {prompt_tokens} prompt and {output_tokens} output tokens in {seconds:.2} s: \
         {:.0} output tokens/s; {} steps, {:.2} s in the model, {:.2} s in sampling",
        output_tokens as f64 / seconds,
        stats.steps_total,
        stats.forward_seconds_total,
        stats.sample_seconds_total,
    );
    Ok(())
}
