//! The CUDA backend answers as the CPU does: on a GPU where there is one, else on the emulated driver
//! (kernels/cuda/emulator), which runs the same kernels on the CPU.
#![cfg(feature = "cuda")]
#![allow(clippy::unwrap_used)]

mod emulated;
mod models;

use std::path::Path;

use models::read;
use ostro_engine::request::{Generation, Sampling, StopRules, TokenId};
use ostro_engine::tiny::{TinyFamily, TinyHead, TinyModel};
use ostro_engine::weights::WeightType;
use ostro_engine::{CacheSize, DeviceChoice, Engine, EngineOptions, ScheduleOptions};

const MAX_TOKENS: u32 = 12;

fn engine(path: &Path, device: DeviceChoice) -> Engine {
    let mut options = EngineOptions::new(path);
    options.device = device;
    options.cache.size = CacheSize::ContextLen(4096);
    options.cache.block_size = 16;
    options.schedule =
        ScheduleOptions { sequences_max: 8, tokens_per_step: Some(96), ..ScheduleOptions::default() };
    Engine::load(options, &|_| ()).unwrap()
}

fn greedy(prompt: &[TokenId]) -> Generation {
    Generation {
        prompt: prompt.into(),
        sampling: Sampling::greedy(),
        stop: StopRules { max_tokens: MAX_TOKENS, ..StopRules::default() },
        logprobs: None,
        cache_salt: 0,
    }
}

fn prompts() -> Vec<Vec<TokenId>> {
    [1usize, 3, 17, 70, 200]
        .map(|len| (0..len).map(|i| 5 + (i * i * 7 + len * 13) as u32 % 250).collect())
        .to_vec()
}

/// One by one and all together, the answers are those of the CPU.
fn check(model: TinyModel, name: &str) {
    if !emulated::gpu() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    model.write_gguf(&path).unwrap();
    let cpu = engine(&path, DeviceChoice::Cpu);
    let expected: Vec<_> = prompts().iter().map(|prompt| read(cpu.submit(greedy(prompt)).unwrap())).collect();
    let gpu = engine(&path, DeviceChoice::Auto);
    assert!(gpu.info().instruction_set.contains("compute capability"), "{}", gpu.info().instruction_set);
    for (prompt, expected) in prompts().iter().zip(&expected) {
        assert_eq!(&read(gpu.submit(greedy(prompt)).unwrap()), expected, "{name}: {} tokens", prompt.len());
    }
    let streams: Vec<_> = prompts().iter().map(|prompt| gpu.submit(greedy(prompt)).unwrap()).collect();
    for (stream, expected) in streams.into_iter().zip(&expected) {
        assert_eq!(&read(stream), expected, "{name}: together");
    }
}

#[test]
fn llama_answers_as_on_the_cpu() {
    for weight_type in
        [WeightType::F32, WeightType::F16, WeightType::BF16, WeightType::Q4_1, WeightType::Q8_0]
    {
        check(TinyModel::new(TinyFamily::Llama).weight_type(weight_type), weight_type.name());
    }
}

#[test]
fn qwen2_answers_as_on_the_cpu() {
    check(TinyModel::new(TinyFamily::Qwen2).weight_type(WeightType::Q8_0).head(TinyHead::Tied), "qwen2");
}

#[test]
fn qwen3_answers_as_on_the_cpu() {
    check(TinyModel::new(TinyFamily::Qwen3).weight_type(WeightType::BF16).head(TinyHead::Tied), "qwen3");
}

/// Prompts have products of their own there, of one half an activation and weight: dense ones, and of weights that are
/// unpacked for them.
#[test]
fn emulated_hopper_answers_as_the_cpu() {
    if !emulated::is_plain() || !emulated::gpu() {
        return;
    }
    for (test, order) in
        [("qwen2_answers_as_on_the_cpu", "forward"), ("qwen3_answers_as_on_the_cpu", "reverse")]
    {
        let printed = emulated::run_on("90", test, order);
        assert!(printed.contains("wide_gated"), "{test}: no prompt went through Hopper's kernels");
    }
}
