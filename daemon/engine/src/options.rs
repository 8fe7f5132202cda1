//! What a caller chooses when it loads a model: plain data with the engine's own defaults.
//!
//! No configuration file, flag or environment variable is read here.

use std::path::PathBuf;

use serde::Serialize;

use crate::memory::MemoryLedger;
use crate::text::TextOverrides;
use ostro_kernels::cpu::isa::Isa;

/// How to load and run one model. `EngineOptions::new(path)` holds the defaults.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// A GGUF file, or a directory with config.json, tokenizer.json and safetensors.
    pub model: PathBuf,
    /// Tokeniser and chat template in place of the model's own.
    pub text: TextOverrides,
    /// Threads that compute; `None` takes every CPU the process may use.
    pub threads: Option<usize>,
    /// Instruction set of the kernels and of sampling, this also beside a GPU; `None` takes the best that this processor
    /// has. All but AMX give the same answers.
    pub isa: Option<Isa>,
    pub device: DeviceChoice,
    pub cache: CacheOptions,
    /// Most tokens of one sequence, prompt and answer; `None` takes what the model was trained for.
    pub context_len: Option<u32>,
    pub schedule: ScheduleOptions,
    /// Models that are loaded after this one: an automatically sized cache leaves room for those on the same device. Those
    /// whose files are not there count without their weights.
    pub later: Vec<EngineOptions>,
    /// One for all models of a process, so that each leaves the others what they may still take.
    pub memory: MemoryLedger,
}

impl EngineOptions {
    pub fn new(model: impl Into<PathBuf>) -> Self {
        EngineOptions {
            model: model.into(),
            text: TextOverrides::default(),
            threads: None,
            isa: None,
            device: DeviceChoice::Auto,
            cache: CacheOptions::default(),
            context_len: None,
            schedule: ScheduleOptions::default(),
            later: Vec::new(),
            memory: MemoryLedger::default(),
        }
    }
}

/// Where a model runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU, where there is one.
    #[default]
    Auto,
    /// The first GPU; without one that can be used, loading fails.
    Gpu,
    Cpu,
}

/// The memory that holds keys and values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CacheOptions {
    pub cache_type: CacheType,
    /// Tokens a block: 16, 32 or 64.
    pub block_size: u32,
    pub size: CacheSize,
}

impl Default for CacheOptions {
    fn default() -> Self {
        CacheOptions { cache_type: CacheType::F16, block_size: 32, size: CacheSize::Auto }
    }
}

/// How a key or value is stored. On SmolLM2, f16 changes no greedy answer in 100, bf16 changes 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheType {
    F32,
    F16,
    Bf16,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CacheSize {
    /// One full context where half of what is left beside the weights holds it, more while memory is plentiful.
    Auto,
    /// Room for this many tokens of all sequences together.
    ContextLen(u64),
    Megabytes(u64),
    /// Of the memory this process may use, weights not included; 0 to 1.
    MemoryFraction(f32),
}

/// How steps are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduleOptions {
    /// Sequences that run together.
    pub sequences_max: usize,
    /// Sequences that wait; more are refused.
    pub waiting_max: usize,
    /// Rows of a step: one for each decoding sequence, the rest prompt tokens. `None` is what suits the device.
    pub tokens_per_step: Option<usize>,
    /// Prompt rows of a step that also decodes: bounds the pause that a prompt causes to running streams.
    /// `None` is what suits the device.
    pub prompt_tokens_beside_decode: Option<usize>,
    /// Prefixes that the prefix cache keeps; 0 turns it off.
    pub prefix_cache_n: usize,
    /// Tokens that prompt lookup guesses for a step that only decodes, of all its sequences. Changes the time, not the
    /// tokens. `None` is what suits the device, 0 guesses nothing.
    pub prompt_lookup_n: Option<usize>,
}

impl Default for ScheduleOptions {
    fn default() -> Self {
        ScheduleOptions {
            sequences_max: 32,
            waiting_max: 1024,
            tokens_per_step: None,
            prompt_tokens_beside_decode: None,
            prefix_cache_n: 16,
            prompt_lookup_n: None,
        }
    }
}
