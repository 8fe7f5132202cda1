//! The paged cache of keys and values of all layers, in one anonymous mapping that costs memory only
//! where it has been written.
//!
//! A block holds `block_size` tokens of a sequence: for every key head of every layer a page of keys, transposed,
//! `[head_dim][block_size]` (a lane is a token, so scores need no horizontal sums), and a page of values,
//! `[block_size][width]`, where width is the head dimension rounded up to 16. Which block belongs to whom is the
//! engine's business.
//!
//! Blocks lie in regions, in the order `[region][layer][head]`, then the region's pages of keys, then those of values:
//! processors fetch ahead for an instruction that goes on where it was, and blocks of a sequence are mostly neighbours.
//! Attention reads the keys of several blocks at a time, so that every block of a step has a stream of its own.
//! A region has all layers, so that a cache of which little is in use touches few pages of memory.

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

/// Keys that attention takes at a time.
pub(crate) const STEP: usize = 64;
/// Tokens of a region. Fewer make shorter streams (512: attention of one sequence at depth 4096 gains a third of what it
/// gains with 1024, on AMD Zen 5), more touch memory in vain.
const REGION_TOKENS: usize = 1024;

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
        self.layers * self.kv_heads * self.head_bytes()
    }

    /// Head dimension rounded up to whole vectors.
    pub(crate) fn width(&self) -> usize {
        self.head_dim.next_multiple_of(16)
    }

    /// Bytes of a page of keys, and of one of values.
    fn page_bytes(&self) -> (usize, usize) {
        let line = self.block_size * self.cache_type.bytes();
        (line * self.head_dim, line * self.width())
    }

    /// Bytes of a block in one layer and head.
    fn head_bytes(&self) -> usize {
        let (keys, values) = self.page_bytes();
        keys + values
    }

    /// A power of two.
    fn region_blocks(&self) -> usize {
        REGION_TOKENS / self.block_size
    }

    /// Bytes of a layer in a region.
    fn region_layer_bytes(&self) -> usize {
        self.region_blocks() * self.kv_heads * self.head_bytes()
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
        let regions = shape.blocks.div_ceil(shape.region_blocks());
        let bytes = [shape.layers, shape.region_layer_bytes(), regions]
            .iter()
            .try_fold(1usize, |product, &x| product.checked_mul(x));
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
        let at = layer * self.shape.region_layer_bytes();
        LayerPages { start: Shared(start.wrapping_add(at)), shape: self.shape }
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
    /// The keys of a block and head.
    ///
    /// # Safety
    /// The cache has that block and head.
    #[inline(always)]
    pub(crate) unsafe fn keys(&self, block: u32, head: usize) -> *mut u8 {
        let blocks = self.shape.region_blocks();
        let streams = STEP / self.shape.block_size;
        let of_region = block as usize % blocks;
        let page = of_region % streams * (blocks / streams) + of_region / streams;
        // SAFETY: forwarded; the page is one of the region.
        unsafe { self.head(block, head).add(page * self.shape.page_bytes().0) }
    }

    /// The values of a block and head.
    ///
    /// # Safety
    /// The cache has that block and head.
    #[inline(always)]
    pub(crate) unsafe fn values(&self, block: u32, head: usize) -> *mut u8 {
        let blocks = self.shape.region_blocks();
        let (keys, values) = self.shape.page_bytes();
        // SAFETY: forwarded; the page is one of the region.
        unsafe { self.head(block, head).add(blocks * keys + block as usize % blocks * values) }
    }

    /// Where the pages of a head begin in the block's region.
    #[inline(always)]
    unsafe fn head(&self, block: u32, head: usize) -> *mut u8 {
        let blocks = self.shape.region_blocks();
        let region = block as usize / blocks * self.shape.layers * self.shape.region_layer_bytes();
        // SAFETY: inside the cache by the caller's promise.
        unsafe { self.start.get().add(region + head * blocks * self.shape.head_bytes()) }
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
    fn pages_do_not_overlap() {
        for block_size in [16, 32, 64] {
            let shape = KvCacheShape { block_size, head_dim: 40, ..shape(70) };
            let mut cache = KvCache::new(shape).unwrap();
            let start = cache.layer_mut(0).start.get() as usize;
            let mut pages = Vec::new();
            for (layer, block) in (0..shape.layers).flat_map(|layer| (0..70).map(move |block| (layer, block)))
            {
                let (of_layer, (keys, values)) = (cache.layer_mut(layer), shape.page_bytes());
                for head in 0..shape.kv_heads {
                    // SAFETY: the cache has these blocks and heads.
                    let places = unsafe { (of_layer.keys(block, head), of_layer.values(block, head)) };
                    pages.push((places.0 as usize - start, keys));
                    pages.push((places.1 as usize - start, values));
                }
            }
            pages.sort_unstable();
            assert!(pages.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
            assert!(pages.last().is_some_and(|last| last.0 + last.1 <= cache.memory.len()));
        }
    }

    #[test]
    fn what_a_step_reads_goes_on_from_step_to_step() {
        for (block_size, streams) in [(16, 4), (32, 2), (64, 1)] {
            let shape = KvCacheShape { block_size, ..shape(70) };
            let cache = KvCache::new(shape).unwrap();
            let pages = cache.layer(1);
            let (keys, values) = shape.page_bytes();
            // SAFETY: only addresses are compared.
            unsafe {
                for block in 0..shape.region_blocks() as u32 - streams {
                    assert_eq!(pages.keys(block + streams, 2), pages.keys(block, 2).add(keys));
                    assert_eq!(pages.values(block + 1, 2), pages.values(block, 2).add(values));
                }
            }
        }
    }

    #[test]
    fn absurd_sizes_are_errors() {
        assert!(KvCache::new(shape(usize::MAX / 1000)).is_err());
        assert!(KvCache::new(shape(usize::MAX / shape(1).bytes_per_block())).is_err());
    }
}
