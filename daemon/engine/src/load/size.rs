//! How large the cache is, and what steps need beside it.

use super::cache_type;
use crate::backend::{Backend, KvCacheShape};
use crate::memory::{CacheRequest, LaterModels, Memory, MemoryError};
use crate::model::decoder::{Decoder, DecoderLimits};
use crate::model::roles::DecoderTensors;
use crate::model::spec::DecoderSpec;
use crate::options::EngineOptions;

#[cfg(test)]
mod tests;

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
        let most = self.request(options, 1).blocks(memory)?;
        let positions = self.limits.positions.min(most as usize * shape.block_size);
        let blocks = self.request(options, positions).blocks(memory)? as usize;
        let positions = positions.min(blocks * shape.block_size);
        Ok((KvCacheShape { blocks, ..shape }, DecoderLimits { positions, ..self.limits }))
    }

    /// Beside steps over sequences of so many tokens.
    fn request(&self, options: &EngineOptions, positions: usize) -> CacheRequest {
        let limits = DecoderLimits { positions, ..self.limits };
        let buffer_bytes = Decoder::buffer_bytes(self.backend, self.spec, limits, self.tensors);
        CacheRequest {
            options: options.cache,
            bytes_per_block: self.backend.block_bytes(&self.shape(options)),
            context_len: self.limits.positions as u32,
            sequences_max: options.schedule.sequences_max,
            model_bytes: self.weight_bytes.saturating_add(buffer_bytes),
            later: self.later,
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
