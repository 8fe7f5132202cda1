//! The paged cache of keys and values of all layers, in one anonymous mapping that costs memory only
//! where it has been written.
//!
//! A block holds `block_size` tokens of a sequence. A page is one block of one key head of one layer:
//! keys transposed, `[head_dim][block_size]` (a lane is a token, so scores need no horizontal sums), then
//! values, `[block_size][width]`, where width is the head dimension rounded up to 16. Pages lie in the
//! order `[layer][block][head]`. Which block belongs to whom is the engine's business.

use crate::cpu::memory::{AllocError, HugeBuffer, Shared};

/// What keys and values are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheType {
    F32,
    F16,
    Bf16,
}

impl CacheType {
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// The size of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvCacheShape {
    pub layers: usize,
    pub blocks: usize,
    /// Tokens of a block: 16, 32 or 64.
    pub block_size: usize,
    pub kv_heads: usize,
    /// A multiple of 8, at most 256.
    pub head_dim: usize,
    pub cache_type: CacheType,
}

impl KvCacheShape {
    /// Bytes that a block takes over all layers.
    pub fn bytes_per_block(&self) -> usize {
        self.layers * self.kv_heads * self.page_bytes()
    }

    /// Head dimension rounded up to whole vectors.
    pub(crate) fn width(&self) -> usize {
        self.head_dim.next_multiple_of(16)
    }

    /// Elements of a page's keys.
    pub(crate) fn key_elements(&self) -> usize {
        self.head_dim * self.block_size
    }

    fn page_bytes(&self) -> usize {
        self.block_size * (self.head_dim + self.width()) * self.cache_type.bytes()
    }

    fn check(&self) {
        assert!(
            matches!(self.block_size, 16 | 32 | 64),
            "block size {} is not 16, 32 or 64",
            self.block_size
        );
        assert!(
            self.head_dim.is_multiple_of(8) && (8..=256).contains(&self.head_dim),
            "head dimension {} is not a multiple of 8 up to 256",
            self.head_dim
        );
    }
}

/// The keys and values of all layers.
pub struct KvCache {
    shape: KvCacheShape,
    memory: HugeBuffer<u8>,
}

impl KvCache {
    /// Maps a cache; fails when the system refuses that much address space.
    pub fn new(shape: KvCacheShape) -> Result<Self, AllocError> {
        shape.check();
        let elements = [shape.layers, shape.kv_heads, shape.page_bytes(), shape.blocks];
        let bytes = elements.iter().try_fold(1usize, |product, &x| product.checked_mul(x));
        let memory = HugeBuffer::zeroed(bytes.unwrap_or(usize::MAX))?;
        Ok(Self { shape, memory })
    }

    pub fn shape(&self) -> &KvCacheShape {
        &self.shape
    }

    /// Bytes that a block takes over all layers.
    pub fn bytes_per_block(&self) -> usize {
        self.shape.bytes_per_block()
    }

    /// Fills the whole cache, so that tests see who reads what nobody wrote.
    #[cfg(test)]
    pub(crate) fn fill_bytes(&mut self, byte: u8) {
        self.memory.fill(byte);
    }

    /// The pages of one layer, for reading.
    pub(crate) fn layer(&self, layer: usize) -> LayerPages {
        self.pages(layer, self.memory.as_ptr().cast_mut())
    }

    /// The pages of one layer, for writing.
    pub(crate) fn layer_mut(&mut self, layer: usize) -> LayerPages {
        let start = self.memory.as_mut_ptr();
        self.pages(layer, start)
    }

    fn pages(&self, layer: usize, start: *mut u8) -> LayerPages {
        assert!(layer < self.shape.layers, "layer {layer} of {}", self.shape.layers);
        let layer_bytes = self.shape.blocks * self.shape.kv_heads * self.shape.page_bytes();
        LayerPages { start: Shared(start.wrapping_add(layer * layer_bytes)), shape: self.shape }
    }
}

/// Addresses of a layer's pages, to be shared by the threads of a region. Whoever goes through them
/// answers for it that no page is written and read, or written twice, at a time.
#[derive(Clone, Copy)]
pub(crate) struct LayerPages {
    start: Shared<u8>,
    pub(crate) shape: KvCacheShape,
}

impl LayerPages {
    /// The page of a block and head; it starts with the keys, `shape.key_elements()` of them.
    ///
    /// # Safety
    /// The cache has that block and head.
    #[inline(always)]
    pub(crate) unsafe fn page(&self, block: u32, head: usize) -> *mut u8 {
        let index = block as usize * self.shape.kv_heads + head;
        // SAFETY: inside the layer by the caller's promise.
        unsafe { self.start.get().add(index * self.shape.page_bytes()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(blocks: usize) -> KvCacheShape {
        KvCacheShape {
            layers: 30,
            blocks,
            block_size: 32,
            kv_heads: 3,
            head_dim: 64,
            cache_type: CacheType::F16,
        }
    }

    #[test]
    fn a_block_takes_keys_and_values_of_all_layers() {
        assert_eq!(shape(1).bytes_per_block(), 30 * 3 * 32 * 2 * 64 * 2);
        assert_eq!(KvCacheShape { head_dim: 72, ..shape(1) }.bytes_per_block(), 30 * 3 * 32 * (72 + 80) * 2);
    }

    #[test]
    fn pages_fill_the_mapping_without_overlap() {
        let mut cache = KvCache::new(shape(5)).unwrap();
        let page_bytes = shape(5).bytes_per_block() / 90;
        let start = cache.layer_mut(0).start.get() as usize;
        for (layer, block, head, index) in [(0, 0, 1, 1), (0, 1, 0, 3), (1, 0, 0, 15), (29, 4, 2, 449)] {
            // SAFETY: the cache has these blocks and heads.
            let page = unsafe { cache.layer_mut(layer).page(block, head) };
            assert_eq!(page as usize, start + index * page_bytes);
        }
    }

    #[test]
    fn absurd_sizes_are_errors() {
        assert!(KvCache::new(shape(usize::MAX / 1000)).is_err());
        assert!(KvCache::new(shape(usize::MAX / shape(1).bytes_per_block())).is_err());
    }
}
