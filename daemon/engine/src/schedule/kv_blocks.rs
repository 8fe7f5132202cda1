//! The pool and the index together: gives blocks to sequences, shares what is cached, takes blocks back.

use super::block_hash::BlockHash;
use super::block_pool::{BlockId, BlockPool};
use super::opening::Opening;
use super::options::SchedulerOptions;
use super::prefix_index::PrefixIndex;
use super::sequence::Sequence;

#[derive(Debug)]
pub(super) struct KvBlocks {
    pool: BlockPool,
    index: PrefixIndex,
    opening: Opening,
    block_size: usize,
    dropped: Vec<(BlockHash, BlockId)>,
}

/// The cached start of a sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct PrefixHit {
    pub(super) blocks: usize,
    /// Those of the blocks, and of the opening beyond them.
    pub(super) tokens: usize,
    /// Of the blocks, blocks that are free now and would leave the free list.
    pub(super) blocks_free: usize,
    /// The name of the first block that is not cached, where a hit on it could be used.
    pub(super) next: Option<BlockHash>,
}

impl KvBlocks {
    pub(super) fn new(options: &SchedulerOptions) -> Self {
        let SchedulerOptions { blocks, prefix_cache_n, .. } = *options;
        let block_size = options.block_size as usize;
        let opening = if prefix_cache_n == 0 { Vec::new() } else { options.opening.clone() };
        let first = BlockId::from(!opening.is_empty());
        KvBlocks {
            pool: BlockPool::new(first..first + blocks),
            index: PrefixIndex::new(prefix_cache_n, blocks),
            opening: Opening::new(opening, block_size),
            block_size,
            dropped: Vec::new(),
        }
    }

    pub(super) fn pool(&self) -> &BlockPool {
        &self.pool
    }

    pub(super) fn opening_mut(&mut self) -> &mut Opening {
        &mut self.opening
    }

    pub(super) fn block_size(&self) -> usize {
        self.block_size
    }

    pub(super) fn blocks_for(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.block_size)
    }

    /// Looks up the start of a sequence. The last token is never looked up: its logits are wanted.
    pub(super) fn look_up(&self, sequence: &mut Sequence) -> PrefixHit {
        let mut hit = PrefixHit { blocks: 0, tokens: 0, blocks_free: 0, next: None };
        if !self.index.is_enabled() {
            return hit;
        }
        let blocks_max = (sequence.tokens().len() - 1) / self.block_size;
        let blocks_max = blocks_max.min(sequence.shareable_blocks(self.block_size));
        while hit.blocks < blocks_max {
            let hash = sequence.hash(hit.blocks, self.block_size);
            let Some(block) = self.index.find(hash) else {
                hit.next = Some(hash);
                break;
            };
            hit.blocks += 1;
            hit.blocks_free += usize::from(self.pool.references(block) == 0);
        }
        hit.tokens = (hit.blocks * self.block_size).max(self.opening.known_of(sequence.prompt(), hit.blocks));
        hit
    }

    /// Gives a sequence without blocks the cached ones that `look_up` found.
    pub(super) fn acquire(&mut self, sequence: &mut Sequence, hit: PrefixHit) {
        for index in 0..hit.blocks {
            let hash = sequence.hash(index, self.block_size);
            let block = self.index.find(hash).expect("look_up found this block in the same step");
            self.pool.retain(block);
            sequence.blocks.push(block);
        }
        sequence.computed = hit.tokens;
        sequence.takes_opening = hit.tokens > hit.blocks * self.block_size;
        sequence.published = hit.blocks;
        sequence.published_max = sequence.published_max.max(hit.blocks);
    }

    /// Appends blocks until the sequence can hold `tokens`; says whether there were enough. New ones ascend: those of a
    /// prompt that follow each other in the cache too are read as one stream.
    pub(super) fn grow(&mut self, sequence: &mut Sequence, tokens: usize) -> bool {
        let first = sequence.blocks.len();
        let wanted = self.blocks_for(tokens);
        while sequence.blocks.len() < wanted {
            let Some((block, evicted)) = self.pool.allocate() else { break };
            if let Some(hash) = evicted {
                self.index.remove(hash);
            }
            sequence.blocks.push(block);
        }
        sequence.blocks[first..].sort_unstable();
        sequence.blocks.len() >= wanted
    }

    /// Makes the blocks that have become full findable.
    pub(super) fn publish(&mut self, sequence: &mut Sequence) {
        let full = (sequence.computed / self.block_size).min(sequence.shareable_blocks(self.block_size));
        while self.index.is_enabled() && sequence.published < full {
            let hash = sequence.hash(sequence.published, self.block_size);
            let block = sequence.blocks[sequence.published];
            if self.index.insert(hash, block) {
                self.pool.name(block, hash);
            }
            sequence.published += 1;
        }
        sequence.published_max = sequence.published_max.max(sequence.published);
    }

    /// Takes all blocks from a sequence; what it has published stays findable until it is reused, its end first.
    pub(super) fn release(&mut self, sequence: &mut Sequence) {
        while let Some(block) = sequence.blocks.pop() {
            self.pool.release(block);
        }
        (sequence.computed, sequence.published, sequence.takes_opening) = (0, 0, false);
    }

    /// Takes back an ended sequence and keeps its prefix within the bound.
    pub(super) fn end(&mut self, mut sequence: Sequence) {
        self.release(&mut sequence);
        self.index.keep(sequence.into_published(), &mut self.dropped);
        for (hash, block) in self.dropped.drain(..) {
            if self.pool.references(block) == 0 {
                self.index.remove(hash);
                self.pool.forget(block);
            }
        }
    }
}

#[cfg(test)]
impl KvBlocks {
    pub(super) fn assert_index_consistent(&self) {
        self.index.assert_consistent();
        for (hash, block) in self.index.entries() {
            assert_eq!(self.pool.hash(block), Some(hash), "a findable block is named");
        }
        let named = self.pool.numbers().filter(|block| self.pool.hash(*block).is_some()).count();
        assert_eq!(named, self.index.entries().count(), "a named block is findable");
    }
}
