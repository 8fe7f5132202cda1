//! From files to a model that runs: open, read the spec, pack the weights, size and allocate the cache.
//!
//! Runs on the engine's thread, for whichever device was chosen. The files are closed again once the weights are packed.

mod about;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use ostro_kernels::cpu::isa::Isa;
use ostro_kernels::cpu::kv_cache;
use ostro_kernels::cpu::memory::give_free_heap_back;

use crate::backend::cpu::CpuBackend;
use crate::backend::{Backend, BackendError, KvCacheShape, StepTokens};
use crate::device;
use crate::engine::{EngineParts, LoadError};
use crate::info::{CacheInfo, LoadProgress, LoadStage, ModelInfo};
use crate::memory::{CacheRequest, Memory, MemoryError};
use crate::model::decoder::{Decoder, DecoderLimits, DecoderWeights};
use crate::model::families::read_spec;
use crate::model::roles::DecoderTensors;
use crate::model::spec::DecoderSpec;
use crate::options::{CacheType, EngineOptions, ScheduleOptions};
use crate::schedule::SchedulerOptions;
use crate::text::{GgufVocabulary, TextModel};
use crate::weights::ModelFiles;
use about::About;

/// More are surely a mistake.
const THREADS_MAX: usize = 1024;
const STEP_MAX: usize = 1 << 16;
const WAITING_MAX: usize = 1 << 20;
const DRAFT_MAX: usize = 64;

/// Loads a model for the device that was chosen.
pub fn load(options: &EngineOptions, report: &dyn Fn(LoadProgress)) -> Result<EngineParts, LoadError> {
    report(LoadProgress { stage: LoadStage::Read, done: 0, total: 0 });
    let threads = check(options)?;
    match device::choose(options.device)? {
        Some(gpu) => load_on(|| device::open(&gpu), options, report),
        None => load_on(|| Ok(CpuBackend::new(isa(options), threads)), options, report),
    }
}

fn load_on<B: Backend + 'static>(
    open: impl FnOnce() -> Result<B, BackendError>,
    options: &EngineOptions,
    report: &dyn Fn(LoadProgress),
) -> Result<EngineParts, LoadError> {
    let tell = |stage, done, total| report(LoadProgress { stage, done, total });
    let files = ModelFiles::open(&options.model)?;
    let (family, spec) = read_spec(&files)?;
    let context_len = context_len(options, &spec)?;
    let tensors = DecoderTensors::find(&files, family, &spec)?;
    let about = About::read(&files, &tensors);
    let mut backend = open()?;
    backend.check(&spec, cache_type(options.cache.cache_type))?;
    let memory = backend.memory()?;
    memory.check_holds(tensors.all().map(|tensor| backend.tensor_bytes(tensor)).sum())?;
    let step = step_tokens(&options.schedule, backend.step_tokens())?;
    let limits = limits(options, step, context_len);
    let buffer_bytes = Decoder::buffer_bytes(&backend, &spec, limits, &tensors);

    let mut packed = |done| tell(LoadStage::Pack, done, about.bytes);
    // The vocabulary takes as long as some hundred megabytes of weights.
    let (text, weights) = thread::scope(|scope| {
        let text = scope.spawn(|| load_text(&files, options));
        let weights = DecoderWeights::load(&mut backend, &tensors, &mut packed);
        (text.join().unwrap_or_else(|panic| resume_unwind(panic)), weights)
    });
    let (text, weights) = (text?, weights?);
    drop(tensors);
    drop(files);

    tell(LoadStage::Cache, about.bytes, about.bytes);
    let weight_bytes = weights.bytes(&backend);
    let step_weight_bytes = weights.step_bytes(&backend);
    let model_bytes = weight_bytes + buffer_bytes;
    let sizing = Sizing { spec: &spec, context_len, model_bytes, memory };
    let shape = size_cache(options, &backend, &sizing)?;
    let cache = CacheInfo {
        cache_type: options.cache.cache_type,
        block_size: options.cache.block_size,
        blocks: shape.blocks as u32,
        bytes: shape.blocks as u64 * backend.block_bytes(&shape),
    };
    let (threads, instruction_set) = (backend.threads(), backend.instruction_set());
    let nominal_bytes_per_second = backend.nominal_bytes_per_second();
    let sources_apart = backend.has_sources_apart();
    let about = about.into_info(&spec, context_len, cache);
    let info = ModelInfo {
        weight_bytes,
        step_weight_bytes,
        threads,
        instruction_set,
        nominal_bytes_per_second,
        ..about
    };
    let model = Decoder::new(backend, spec, weights, &shape, limits)?;
    give_free_heap_back();
    tell(LoadStage::Ready, 0, 0);
    let schedule = schedule(&options.schedule, step, &cache, (context_len, sources_apart));
    Ok(EngineParts { model: Box::new(model), text: Arc::new(text), info, schedule, isa: isa(options) })
}

fn isa(options: &EngineOptions) -> Isa {
    options.isa.unwrap_or_else(Isa::detect)
}

/// What is wrong with the options alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {value}, allowed is {allowed}")]
pub struct OptionError {
    pub name: &'static str,
    pub value: u64,
    pub allowed: String,
}

/// The number of threads, once all else is allowed too.
fn check(options: &EngineOptions) -> Result<usize, OptionError> {
    let refuse = |name, value: usize, allowed: &str| {
        Err(OptionError { name, value: value as u64, allowed: allowed.to_owned() })
    };
    let available = thread::available_parallelism().map_or(1, |threads| threads.get());
    let threads = options.threads.unwrap_or(available);
    if !(1..=THREADS_MAX).contains(&threads) {
        return refuse("threads", threads, &format!("1 to {THREADS_MAX}"));
    }
    let block_size = options.cache.block_size;
    if ![16, 32, 64].contains(&block_size) {
        return refuse("block_size", block_size as usize, "16, 32 or 64");
    }
    for (name, value) in [
        ("max_seqs", Some(options.schedule.sequences_max)),
        ("tokens_per_step", options.schedule.tokens_per_step),
        ("prompt_tokens_beside_decode", options.schedule.prompt_tokens_beside_decode),
    ] {
        let Some(value) = value else { continue };
        if !(1..=STEP_MAX).contains(&value) {
            return refuse(name, value, &format!("1 to {STEP_MAX}"));
        }
    }
    let draft_tokens = options.schedule.prompt_lookup_n.unwrap_or(0);
    if draft_tokens > DRAFT_MAX {
        return refuse("prompt_lookup_n", draft_tokens, &format!("at most {DRAFT_MAX}"));
    }
    if options.schedule.waiting_max > WAITING_MAX {
        return refuse("waiting_max", options.schedule.waiting_max, &format!("at most {WAITING_MAX}"));
    }
    Ok(threads)
}

fn load_text(files: &ModelFiles, options: &EngineOptions) -> Result<TextModel, LoadError> {
    match files {
        ModelFiles::Gguf(file) => {
            let vocabulary = GgufVocabulary::read(file.metadata())?;
            Ok(TextModel::from_gguf(&vocabulary, &options.text)?)
        }
        ModelFiles::Safetensors(directory) => Ok(TextModel::from_dir(directory.path(), &options.text)?),
    }
}

fn context_len(options: &EngineOptions, spec: &DecoderSpec) -> Result<u32, OptionError> {
    let trained = spec.context_length as u32;
    match options.context_len {
        None => Ok(trained),
        Some(chosen) if (2..=trained).contains(&chosen) => Ok(chosen),
        Some(chosen) => {
            let (value, allowed) = (chosen.into(), format!("2 to {trained}, what the model was trained for"));
            Err(OptionError { name: "context_len", value, allowed })
        }
    }
}

/// What the cache must fit beside.
struct Sizing<'a> {
    spec: &'a DecoderSpec,
    context_len: u32,
    model_bytes: u64,
    memory: Memory,
}

fn size_cache<B: Backend>(
    options: &EngineOptions,
    backend: &B,
    sizing: &Sizing<'_>,
) -> Result<KvCacheShape, MemoryError> {
    let Sizing { spec, context_len, model_bytes, memory } = *sizing;
    let shape = KvCacheShape {
        layers: spec.layers,
        blocks: 1,
        block_size: options.cache.block_size as usize,
        kv_heads: spec.kv_heads,
        head_dim: spec.head_dim,
        cache_type: cache_type(options.cache.cache_type),
    };
    let request = CacheRequest {
        options: options.cache,
        bytes_per_block: backend.block_bytes(&shape),
        context_len,
        sequences_max: options.schedule.sequences_max,
        model_bytes,
    };
    Ok(KvCacheShape { blocks: request.blocks(&memory)? as usize, ..shape })
}

fn cache_type(cache_type: CacheType) -> kv_cache::CacheType {
    match cache_type {
        CacheType::F32 => kv_cache::CacheType::F32,
        CacheType::F16 => kv_cache::CacheType::F16,
        CacheType::Bf16 => kv_cache::CacheType::Bf16,
    }
}

/// The rows of a step, as chosen or as suits the device.
fn step_tokens(options: &ScheduleOptions, suits: StepTokens) -> Result<StepTokens, OptionError> {
    let all = options.tokens_per_step.unwrap_or(suits.all);
    let beside_decode = options.prompt_tokens_beside_decode.unwrap_or(suits.beside_decode);
    let draft = options.prompt_lookup_n.unwrap_or(suits.draft);
    if draft > 0 && suits.draft == 0 {
        let allowed = "0 on this device".to_owned();
        return Err(OptionError { name: "prompt_lookup_n", value: draft as u64, allowed });
    }
    Ok(StepTokens { all, beside_decode: beside_decode.min(all), draft })
}

fn limits(options: &EngineOptions, step: StepTokens, context_len: u32) -> DecoderLimits {
    let rows = step.all;
    DecoderLimits {
        rows,
        sampled: options.schedule.sequences_max.max(1 + step.draft).min(rows),
        positions: context_len as usize,
        block_size: options.cache.block_size as usize,
    }
}

fn schedule(
    options: &ScheduleOptions,
    step: StepTokens,
    cache: &CacheInfo,
    (context_len, sources_apart): (u32, bool),
) -> SchedulerOptions {
    let ScheduleOptions {
        sequences_max,
        waiting_max,
        tokens_per_step: _,
        prompt_tokens_beside_decode: _,
        prefix_cache_n,
        prompt_lookup_n: _,
    } = *options;
    SchedulerOptions {
        block_size: cache.block_size,
        blocks: cache.blocks,
        context_len,
        max_seqs: sequences_max,
        tokens_per_step: step.all,
        prompt_tokens_beside_decode: step.beside_decode,
        draft_tokens: step.draft,
        waiting_max,
        prefix_cache_n,
        sources_apart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_takes_no_drafts_is_asked_for_none() {
        let suits = StepTokens { all: 2048, beside_decode: 512, draft: 0 };
        let steps = |prompt_lookup_n| {
            step_tokens(&ScheduleOptions { prompt_lookup_n, ..ScheduleOptions::default() }, suits)
        };
        assert_eq!([steps(None), steps(Some(0))], [Ok(suits), Ok(suits)]);
        let error = steps(Some(7)).unwrap_err().to_string();
        assert_eq!(error, "prompt_lookup_n is 7, allowed is 0 on this device");
    }
}
