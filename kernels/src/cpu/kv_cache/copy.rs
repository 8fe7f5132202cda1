//! Copies of whole blocks, between steps.

use std::ptr::copy_nonoverlapping;

use super::KvCache;

impl KvCache {
    /// Keys and values of all layers of the block `to` become those of `from`.
    pub fn copy_block(&mut self, from: u32, to: u32) {
        let blocks = self.shape.blocks;
        assert!(from != to && (from.max(to) as usize) < blocks, "block {from} to {to} of {blocks}");
        let (key_bytes, value_bytes) = self.shape.page_bytes();
        for layer in 0..self.shape.layers {
            let pages = self.layer_mut(layer);
            for head in 0..self.shape.kv_heads {
                let (from, to) = (pages.pages(from, head), pages.pages(to, head));
                // SAFETY: pages of two blocks, which lie in the cache and apart from each other; nobody else has the cache.
                unsafe {
                    copy_nonoverlapping(from.0, to.0, key_bytes);
                    copy_nonoverlapping(from.1, to.1, value_bytes);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CacheType, KvCacheShape};
    use super::*;

    /// All bytes of a block, in the order of its pages.
    fn bytes_of(cache: &mut KvCache, block: u32) -> Vec<u8> {
        let (shape, mut bytes) = (*cache.shape(), Vec::new());
        let (keys, values) = shape.page_bytes();
        for layer in 0..shape.layers {
            let pages = cache.layer_mut(layer);
            for (page, len) in (0..shape.kv_heads).flat_map(|head| {
                let (key_page, value_page) = pages.pages(block, head);
                [(key_page, keys), (value_page, values)]
            }) {
                // SAFETY: a page of the cache.
                bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(page, len) });
            }
        }
        bytes
    }

    #[test]
    fn a_copied_block_is_like_the_other_and_all_others_stay() {
        for block_size in [16, 32, 64] {
            let shape = KvCacheShape {
                layers: 3,
                blocks: 7,
                block_size,
                kv_heads: 2,
                head_dim: 40,
                cache_type: CacheType::F16,
            };
            let mut cache = KvCache::new(shape).unwrap();
            for (place, byte) in cache.memory.iter_mut().enumerate() {
                *byte = (place / 2 % 251) as u8;
            }
            let before: Vec<Vec<u8>> = (0..7).map(|block| bytes_of(&mut cache, block)).collect();
            assert_ne!(before[6], before[1]);
            cache.copy_block(6, 1);
            for (block, before_of) in before.iter().enumerate() {
                let expected = if block == 1 { &before[6] } else { before_of };
                assert_eq!(&bytes_of(&mut cache, block as u32), expected, "block {block}");
            }
        }
    }
}
