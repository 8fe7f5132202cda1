//! The paged cache of keys and values of all layers, in one anonymous mapping that costs memory only
//! where it has been written.
//!
//! A block holds `block_size` tokens of a sequence: for every key head of every layer a page of keys, transposed,
//! `[head_dim][block_size]` (a lane is a token, so scores need no horizontal sums), and a page of values,
//! `[block_size][width]`, where width is the head dimension rounded up to 16. Which block belongs to whom is the
//! engine's business.
//!
//! Blocks lie in extents, in the order `[extent][layer][head]`, then the extent's pages of keys, then those of values:
//! processors fetch ahead for an instruction that goes on where it was, and blocks of a sequence are mostly neighbours.
//! Attention reads the keys of several blocks at a time, so that every block of a step has a stream of its own.
//! An extent has all layers: what is in use of a cache lies together, and few pages of memory are touched.

mod copy;

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
/// Bytes of the keys of a head in an extent. Half of it makes shorter streams (attention of one sequence at depth 4096 gains
/// a third of what it gains with this, on AMD Zen 5), more touches memory in vain.
const EXTENT_KEY_BYTES: usize = 128 << 10;

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
        self.layers * self.layer_bytes()
    }

    /// Head dimension rounded up to whole vectors.
    pub(crate) fn width(&self) -> usize {
        self.head_dim.next_multiple_of(16)
    }

    /// Bytes of a page of keys, and of one of values.
    pub(crate) fn page_bytes(&self) -> (usize, usize) {
        let line = self.block_size * self.cache_type.bytes();
        (line * self.head_dim, line * self.width())
    }

    /// Bytes of a block in one layer and head.
    fn head_bytes(&self) -> usize {
        let (keys, values) = self.page_bytes();
        keys + values
    }

    /// Bytes of a block in one layer.
    fn layer_bytes(&self) -> usize {
        self.kv_heads * self.head_bytes()
    }

    /// Blocks whose keys attention reads at a time.
    fn streams(&self) -> usize {
        STEP >> self.block_size.trailing_zeros()
    }

    /// Blocks of an extent, of which the last one has as many as are left: a power of two, as `streams`.
    fn extent_blocks(&self) -> usize {
        let fit = EXTENT_KEY_BYTES / self.page_bytes().0;
        fit.checked_ilog2().map_or(1, |bits| 1 << bits).max(self.streams())
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
    /// The slots of each block that were named, while places are compared; else zeros.
    named: HugeBuffer<u64>,
}

impl KvCache {
    /// Maps a cache; fails when the system refuses that much address space.
    pub fn new(shape: KvCacheShape) -> Result<Self, AllocError> {
        shape.check();
        let blocks = shape.blocks.checked_next_multiple_of(shape.streams()).unwrap_or(usize::MAX);
        let bytes = [shape.layers, shape.layer_bytes(), blocks]
            .iter()
            .try_fold(1usize, |product, &x| product.checked_mul(x));
        let memory = HugeBuffer::zeroed(bytes.unwrap_or(usize::MAX))?;
        let named = HugeBuffer::sparse(shape.blocks)?;
        Ok(Self { shape, memory, named })
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

    /// Whether no two places (block, slot) are the same. The cache has all of them.
    pub(crate) fn are_apart(&mut self, places: impl Iterator<Item = (u32, usize)> + Clone) -> bool {
        let mut are_apart = true;
        for (block, slot) in places.clone() {
            let (slots, bit) = (&mut self.named[block as usize], 1u64 << slot);
            are_apart &= *slots & bit == 0;
            *slots |= bit;
        }
        places.for_each(|(block, _)| self.named[block as usize] = 0);
        are_apart
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
        LayerPages {
            start: Shared(start),
            layer,
            extent_blocks: self.shape.extent_blocks(),
            blocks: self.shape.blocks.next_multiple_of(self.shape.streams()),
            shape: self.shape,
        }
    }
}

/// Addresses of a layer's pages, to be shared by the threads of a region. Whoever goes through them
/// answers for it that no page is written and read, or written twice, at a time.
#[derive(Clone, Copy)]
pub(crate) struct LayerPages {
    /// Of the whole cache.
    start: Shared<u8>,
    layer: usize,
    extent_blocks: usize,
    /// Of the cache, in whole steps.
    blocks: usize,
    pub(crate) shape: KvCacheShape,
}

impl LayerPages {
    /// Where the pages of keys and of values of a block and head lie, also where there is no such cache any more.
    #[inline(always)]
    pub(crate) fn pages(&self, block: u32, head: usize) -> (*mut u8, *mut u8) {
        let [at, keys, values] = self.offsets(block, head);
        let start = self.start.get().wrapping_add(at);
        (start.wrapping_add(keys), start.wrapping_add(values))
    }

    /// From the cache's start to where the head's pages of the extent lie, and from there to the two.
    #[inline(always)]
    fn offsets(&self, block: u32, head: usize) -> [usize; 3] {
        let shape = &self.shape;
        let (block, most, streams) = (block as usize, self.extent_blocks, shape.streams());
        // Powers of two, by shifts: this is called for every few keys.
        let first = block & !(most - 1);
        let blocks = most.min(self.blocks - first);
        let (keys, values) = shape.page_bytes();
        let at = (first * shape.layers + self.layer * blocks) * shape.layer_bytes()
            + head * blocks * shape.head_bytes();
        let block = block - first;
        let stream = (block & (streams - 1)) * (blocks >> streams.trailing_zeros());
        let key_page = stream + (block >> streams.trailing_zeros());
        [at, key_page * keys, blocks * keys + block * values]
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
                    let places = of_layer.pages(block, head);
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
            for block in 0..shape.extent_blocks() as u32 - streams {
                let (key, value) = pages.pages(block, 2);
                assert_eq!(pages.pages(block + streams, 2).0, key.wrapping_add(keys));
                assert_eq!(pages.pages(block + 1, 2).1, value.wrapping_add(values));
            }
        }
    }

    #[test]
    fn a_cache_takes_what_its_blocks_take() {
        for (blocks, block_size, taken) in [(1, 16, 4), (33, 32, 34), (70, 64, 70)] {
            let shape = KvCacheShape { block_size, ..shape(blocks) };
            let cache = KvCache::new(shape).unwrap();
            assert_eq!(cache.memory.len(), taken * cache.bytes_per_block());
        }
    }

    #[test]
    fn places_are_compared_anew_each_time() {
        let mut cache = KvCache::new(KvCacheShape { block_size: 64, ..shape(2) }).unwrap();
        for _ in 0..2 {
            assert!(cache.are_apart([(0, 0), (1, 0), (0, 63), (1, 62)].into_iter()));
            assert!(!cache.are_apart([(0, 0), (1, 63), (1, 0), (1, 63)].into_iter()));
        }
    }

    #[test]
    fn absurd_sizes_are_errors() {
        assert!(KvCache::new(shape(usize::MAX / 1000)).is_err());
        assert!(KvCache::new(shape(usize::MAX / shape(1).bytes_per_block())).is_err());
    }
}
