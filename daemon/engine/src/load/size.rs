//! How large the cache is.

use super::cache_type;
use crate::backend::{Backend, KvCacheShape};
use crate::memory::{CacheRequest, LaterModels, Memory, MemoryError};
use crate::model::spec::DecoderSpec;
use crate::options::EngineOptions;

/// What the cache must fit beside.
pub(super) struct Sizing<'a> {
    pub(super) spec: &'a DecoderSpec,
    pub(super) context_len: u32,
    pub(super) model_bytes: u64,
    pub(super) memory: Memory,
    pub(super) later: LaterModels,
}

pub(super) fn size_cache<B: Backend>(
    options: &EngineOptions,
    backend: &B,
    sizing: &Sizing<'_>,
) -> Result<KvCacheShape, MemoryError> {
    let Sizing { spec, context_len, model_bytes, memory, later } = *sizing;
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
        later,
    };
    Ok(KvCacheShape { blocks: request.blocks(&memory)? as usize, ..shape })
}
