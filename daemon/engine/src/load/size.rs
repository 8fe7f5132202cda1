//! How large the cache is, and what steps need beside it.

use super::cache_type;
use crate::backend::{Backend, KvCacheShape};
use crate::memory::{CacheRequest, LaterModels, Memory, MemoryError, MemoryOwner};
use crate::model::decoder::{Decoder, DecoderLimits};
use crate::model::roles::DecoderTensors;
use crate::model::spec::DecoderSpec;
use crate::options::EngineOptions;

#[cfg(test)]
mod tests;

/// Of a token: its weight, and a candidate in a list that doubles as it grows.
const SAMPLING_BYTES: u64 = 4 + 2 * 8;

/// What the cache must fit beside.
pub(super) struct Sizing<'a, B> {
    pub(super) backend: &'a B,
    pub(super) spec: &'a DecoderSpec,
    pub(super) tensors: &'a DecoderTensors<'a>,
    /// As packed.
    pub(super) weight_bytes: u64,
    /// With the whole context.
    pub(super) limits: DecoderLimits,
    pub(super) later: LaterModels,
}

impl<B: Backend> Sizing<'_, B> {
    /// The cache, and the limits of steps over it.
    pub(super) fn fit(
        &self,
        options: &EngineOptions,
        memory: &Memory,
    ) -> Result<(KvCacheShape, DecoderLimits), MemoryError> {
        let shape = self.shape(options);
        // No sequence is longer than the cache: one that is chosen small asks for no memory for long ones. The first size
        // leaves them out, and so is at least the second.
        let most = self.request(options, memory, 1).blocks(memory)?;
        let positions = self.limits.positions.min(most as usize * shape.block_size);
        let blocks = self.request(options, memory, positions).blocks(memory)? as usize;
        let positions = positions.min(blocks * shape.block_size);
        Ok((KvCacheShape { blocks, ..shape }, DecoderLimits { positions, ..self.limits }))
    }

    /// Beside steps over sequences of so many tokens.
    fn request(&self, options: &EngineOptions, memory: &Memory, positions: usize) -> CacheRequest {
        CacheRequest {
            options: options.cache,
            bytes_per_block: self.backend.block_bytes(&self.shape(options)),
            context_len: self.limits.positions as u32,
            sequences_max: options.schedule.sequences_max,
            model_bytes: self.model_bytes(options, memory, positions),
            later: self.later,
        }
    }

    /// Of weights and buffers.
    pub(super) fn model_bytes(&self, options: &EngineOptions, memory: &Memory, positions: usize) -> u64 {
        let limits = DecoderLimits { positions, ..self.limits };
        Decoder::buffer_bytes(self.backend, self.spec, limits, self.tensors)
            .saturating_add(self.sampling_bytes(options, memory))
            .saturating_add(self.weight_bytes)
    }

    /// Of the samplers' lists, one of weights and one of candidates a thread, which lie in the memory of CPUs.
    fn sampling_bytes(&self, options: &EngineOptions, memory: &Memory) -> u64 {
        match memory.owner {
            MemoryOwner::Models => 0,
            MemoryOwner::Shared => {
                let lists = self.backend.threads().min(options.schedule.sequences_max);
                lists as u64 * self.spec.vocab as u64 * SAMPLING_BYTES
            }
        }
    }

    /// Of one block.
    fn shape(&self, options: &EngineOptions) -> KvCacheShape {
        KvCacheShape {
            layers: self.spec.layers,
            blocks: 1,
            block_size: options.cache.block_size as usize,
            kv_heads: self.spec.kv_heads,
            head_dim: self.spec.head_dim,
            cache_type: cache_type(options.cache.cache_type),
        }
    }
}
