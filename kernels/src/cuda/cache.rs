//! The paged cache of keys and values in device memory: f16, `[layer][block][key head][token][head_dim]`, all keys, then
//! all values.

use super::buffer::Buffer;
use super::device::{CudaError, Device};
use super::matrix::allocate;
use crate::cpu::kv_cache::KvCacheShape;

#[derive(Debug)]
pub struct CudaKvCache {
    shape: KvCacheShape,
    keys: Buffer,
    values: Buffer,
}

impl CudaKvCache {
    pub(crate) fn new(device: &Device, shape: KvCacheShape) -> Result<Self, CudaError> {
        let bytes = shape.layers * Self::layer_elements(&shape) * 2;
        let buffer =
            || allocate(device, "the key-value cache", bytes, |stream| Buffer::zeroed(stream, bytes));
        Ok(CudaKvCache { shape, keys: buffer()?, values: buffer()? })
    }

    /// Bytes that a block takes over all layers.
    pub fn bytes_per_block(shape: &KvCacheShape) -> usize {
        shape.layers * shape.kv_heads * shape.block_size * shape.head_dim * 4
    }

    fn layer_elements(shape: &KvCacheShape) -> usize {
        shape.blocks * shape.kv_heads * shape.block_size * shape.head_dim
    }

    pub(crate) fn block_size(&self) -> usize {
        self.shape.block_size
    }

    /// Addresses of a layer's keys and values.
    pub(crate) fn layer(&self, layer: usize) -> (u64, u64) {
        let at = (layer * Self::layer_elements(&self.shape) * 2) as u64;
        (self.keys.address() + at, self.values.address() + at)
    }
}
