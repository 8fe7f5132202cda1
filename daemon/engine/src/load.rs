//! From files to a model that runs: open, read the spec, pack the weights, size and allocate the cache.
//!
//! Runs on the engine's thread, for whichever device was chosen. The files are closed again once the weights are packed.

mod about;
mod choices;
mod later;
mod size;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ostro_kernels::cpu::isa::Isa;
use ostro_kernels::cpu::kv_cache;
use ostro_kernels::cpu::memory::give_free_heap_back;

use crate::backend::cpu::CpuBackend;
use crate::backend::{Backend, BackendError, KvCacheShape};
use crate::device;
use crate::engine::{EngineParts, LoadError};
use crate::forward::{ForwardError, Logits, Model};
use crate::info::{CacheInfo, DeviceKind, LoadProgress, LoadStage};
use crate::memory::Promise;
use crate::model::decoder::{Decoder, DecoderWeights};
use crate::model::families::read_spec;
use crate::model::roles::DecoderTensors;
use crate::options::{CacheType, EngineOptions};
use crate::schedule::StepPlan;
use crate::text::{GgufVocabulary, TextModel};
use crate::weights::ModelFiles;
use about::About;
use choices::{check, context_len, limits, schedule, step_tokens};
use size::Sizing;

pub use choices::OptionError;

/// Loads a model for the device that was chosen.
pub fn load(options: &EngineOptions, report: &dyn Fn(LoadProgress)) -> Result<EngineParts, LoadError> {
    report(LoadProgress { stage: LoadStage::Read, done: 0, total: 0 });
    let threads = check(options)?;
    match device::choose(options.device)? {
        Some(gpu) => load_on(|| device::open(&gpu), options, report),
        None => load_on(|| CpuBackend::new(isa(options), threads), options, report),
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
    if spec.tied_head && tensors.head.is_some() {
        tracing::warn!("tie_word_embeddings is set, but the head is not the embedding: the head is used");
    }
    let about = About::read(&files, &tensors)?;
    let mut backend = open()?;
    backend.check(&spec, cache_type(options.cache.cache_type))?;
    let memory = options.memory.left(backend.memory()?);
    memory.check_holds(tensors.all().map(|tensor| backend.tensor_bytes(tensor)).sum())?;
    let step = step_tokens(&options.schedule, backend.step_tokens())?;
    let limits = limits(options, step, context_len);
    let later = later::read(&backend, options, &memory);

    let mut packed = |done| tell(LoadStage::Pack, done, about.bytes);
    // The vocabulary takes as long as some hundred megabytes of weights.
    let (text, weights) = thread::scope(|scope| {
        let text = thread::Builder::new().spawn_scoped(scope, || load_text(&files, options));
        let text = text.map_err(LoadError::Thread)?;
        let weights = DecoderWeights::load(&mut backend, &tensors, &mut packed);
        Ok::<_, LoadError>((text.join().unwrap_or_else(|panic| resume_unwind(panic)), weights))
    })?;
    let (text, weights) = (text?, weights?);
    warn_of_tokens_beyond(spec.vocab, &text);

    tell(LoadStage::Cache, about.bytes, about.bytes);
    let weight_bytes = weights.bytes(&backend);
    let sizing = Sizing { backend: &backend, spec: &spec, tensors: &tensors, weight_bytes, limits, later };
    let (shape, limits) = sizing.fit(options, &memory)?;
    let model_bytes = sizing.model_bytes(options, &memory, limits.positions);
    drop(tensors);
    drop(files);
    let cache = CacheInfo {
        cache_type: options.cache.cache_type,
        block_size: options.cache.block_size,
        blocks: shape.blocks as u32,
        bytes: shape.blocks as u64 * backend.block_bytes(&shape),
    };
    let opening = if backend.copies_blocks() { text.opening() } else { Vec::new() };
    let shape = KvCacheShape { blocks: shape.blocks + usize::from(!opening.is_empty()), ..shape };
    let cache_bytes = shape.blocks as u64 * backend.block_bytes(&shape);
    let promise = options.memory.promise(&memory, model_bytes.saturating_add(cache_bytes));
    let sources_apart = backend.has_sources_apart();
    let step_limit = step_limit(backend.device().kind) * step.all.div_ceil(backend.step_tokens().all) as u32;
    let info = about.into_info(&backend, &weights, &spec, (context_len, cache));
    // Before memory is reserved, which would keep pages that the load has touched.
    give_free_heap_back();
    let model = Decoder::new(backend, spec, weights, &shape, limits)?;
    tell(LoadStage::Ready, 0, 0);
    let schedule = schedule(&options.schedule, step, &cache, (context_len, sources_apart), opening);
    Ok(EngineParts {
        model: Box::new(Counted { model, _promise: promise }),
        text: Arc::new(text),
        info,
        schedule,
        isa: isa(options),
        step_limit,
    })
}

/// A model that the ledger of memory knows until it is dropped.
struct Counted<M> {
    model: M,
    /// Behind the model, whose memory is free by then.
    _promise: Promise,
}

impl<M: Model> Model for Counted<M> {
    fn forward(&mut self, plan: &StepPlan) -> Result<Logits<'_>, ForwardError> {
        self.model.forward(plan)
    }
}

/// Far above what a step of as many rows as suit the device takes, of the largest model on the least device.
fn step_limit(device: DeviceKind) -> Duration {
    let minutes = match device {
        // Processors may be shares of one, and weights on a disk.
        DeviceKind::Cpu => 60,
        DeviceKind::Cuda => 5,
    };
    Duration::from_secs(minutes * 60)
}

fn isa(options: &EngineOptions) -> Isa {
    options.isa.unwrap_or_else(Isa::detect)
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

/// Some tokenisers list tokens that nothing was trained for; texts that have them are refused one by one.
fn warn_of_tokens_beyond(vocab_size: usize, text: &TextModel) {
    let tokens = text.vocab_size();
    if tokens > vocab_size {
        tracing::warn!(tokens, vocab_size, "prompts with tokens that the model does not have are refused");
    }
}

fn cache_type(cache_type: CacheType) -> kv_cache::CacheType {
    match cache_type {
        CacheType::F32 => kv_cache::CacheType::F32,
        CacheType::F16 => kv_cache::CacheType::F16,
        CacheType::Bf16 => kv_cache::CacheType::Bf16,
    }
}
