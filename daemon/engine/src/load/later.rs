//! What the models that are loaded after this one will take of its device, by their files.

use super::choices::{context_len, limits, step_tokens};
use crate::backend::Backend;
use crate::memory::{LaterModels, Memory, MemoryOwner};
use crate::model::decoder::Decoder;
use crate::model::families::read_spec;
use crate::model::roles::DecoderTensors;
use crate::options::{CacheSize, EngineOptions};
use crate::weights::ModelFiles;

/// Only where it is asked: by an automatic cache on a device of models alone. A model that all of the device could not hold
/// is left out: nothing helps it.
pub(super) fn read<B: Backend>(backend: &B, options: &EngineOptions, memory: &Memory) -> LaterModels {
    let (CacheSize::Auto, MemoryOwner::Models) = (options.cache.size, memory.owner) else {
        return LaterModels::default();
    };
    let all = memory.available_bytes.unwrap_or(u64::MAX);
    let needed = options.later.iter().map(|later| needed_bytes(backend, later).unwrap_or_default());
    let fitting: Vec<u64> = needed.filter(|bytes| *bytes < all).collect();
    LaterModels { count: fitting.len() as u64, bytes: fitting.into_iter().fold(0, u64::saturating_add) }
}

/// Weights and buffers. `None` where the file is not there yet, or is none: it tells that itself when it is loaded.
fn needed_bytes<B: Backend>(backend: &B, options: &EngineOptions) -> Option<u64> {
    let files = ModelFiles::open(&options.model).ok()?;
    let (family, spec) = read_spec(&files).ok()?;
    let tensors = DecoderTensors::find(&files, family, &spec).ok()?;
    let step = step_tokens(&options.schedule, backend.step_tokens()).ok()?;
    let limits = limits(options, step, context_len(options, &spec).ok()?);
    let weight_bytes: u64 = tensors.all().map(|tensor| backend.tensor_bytes(tensor)).sum();
    Some(weight_bytes + Decoder::buffer_bytes(backend, &spec, limits, &tensors))
}
