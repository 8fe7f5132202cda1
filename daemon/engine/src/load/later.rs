//! What the models that are loaded after this one will take of its device, by their files.

use super::choices::{context_len, limits, step_tokens};
use crate::backend::Backend;
use crate::device::gpus;
use crate::memory::{LaterModels, Memory, MemoryOwner};
use crate::model::decoder::Decoder;
use crate::model::families::read_spec;
use crate::model::roles::DecoderTensors;
use crate::options::{CacheSize, DeviceChoice, EngineOptions};
use crate::weights::ModelFiles;

/// Only where it is asked: by an automatic cache. A model that all of the device could not hold is left out: nothing helps
/// it.
pub(super) fn read<B: Backend>(backend: &B, options: &EngineOptions, memory: &Memory) -> LaterModels {
    if options.cache.size != CacheSize::Auto {
        return LaterModels::default();
    }
    let all = memory.available_bytes.unwrap_or(u64::MAX);
    let beside = options.later.iter().filter(|later| takes_of(memory.owner, later.device));
    let needed = beside.map(|later| needed_bytes(backend, later).unwrap_or_default());
    let fitting: Vec<u64> = needed.filter(|bytes| *bytes < all).collect();
    LaterModels { count: fitting.len() as u64, bytes: fitting.into_iter().fold(0, u64::saturating_add) }
}

/// Whether a later model takes of the same memory as this one.
fn takes_of(owner: MemoryOwner, later: DeviceChoice) -> bool {
    match (owner, later) {
        // There is a GPU: this model has it.
        (MemoryOwner::Models, later) => later != DeviceChoice::Cpu,
        (MemoryOwner::Shared, DeviceChoice::Cpu) => true,
        (MemoryOwner::Shared, DeviceChoice::Gpu) => false,
        (MemoryOwner::Shared, DeviceChoice::Auto) => gpus().is_err(),
    }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ostro_kernels::cpu::isa::Isa;

    use super::*;
    use crate::backend::cpu::CpuBackend;
    use crate::tiny::{TinyFamily, TinyModel};

    #[test]
    fn those_of_the_same_memory_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        TinyModel::new(TinyFamily::Llama).write_gguf(&path).unwrap();
        let on = |device, path: &Path| EngineOptions { device, ..EngineOptions::new(path) };
        let later = vec![
            on(DeviceChoice::Cpu, &path),
            on(DeviceChoice::Cpu, Path::new("to be downloaded")),
            on(DeviceChoice::Gpu, &path),
        ];
        let mut options = EngineOptions { later, ..EngineOptions::new(&path) };
        let backend = CpuBackend::new(Isa::PORTABLE, 1).unwrap();
        let found = |options: &EngineOptions, owner| {
            let memory = Memory { available_bytes: Some(1 << 40), owner, ..Memory::default() };
            read(&backend, options, &memory)
        };
        let beside = found(&options, MemoryOwner::Shared);
        assert_eq!(beside.count, 2);
        assert!(beside.bytes > path.metadata().unwrap().len(), "{beside:?}");
        assert_eq!(found(&options, MemoryOwner::Models).count, 1);
        options.cache.size = CacheSize::Megabytes(1);
        assert_eq!(found(&options, MemoryOwner::Shared), LaterModels::default());
    }
}
