//! Reference-counted KV blocks. A block without references is free; it may keep its content (cached) until it is
//! allocated again.
//!
//! The free list is intrusive and ordered by what is lost on reuse: blocks without content first, then the least
//! recently used. Knows block numbers and their hashes, never tokens or sequences.

use std::ops::Range;

use super::block_hash::BlockHash;

pub(super) type BlockId = u32;

const NONE: u32 = u32::MAX;

#[derive(Clone, Debug)]
struct Block {
    references: u32,
    /// Set while the block's content can be found in the prefix index.
    hash: Option<BlockHash>,
    previous: u32,
    next: u32,
}

#[derive(Clone, Debug)]
pub(super) struct BlockPool {
    /// By number, also those before the pool's first.
    blocks: Vec<Block>,
    numbers: Range<BlockId>,
    /// Reused first.
    first: u32,
    last: u32,
    free: u32,
    cached: u32,
}

impl BlockPool {
    pub(super) fn new(numbers: Range<BlockId>) -> Self {
        let block = Block { references: 0, hash: None, previous: NONE, next: NONE };
        let blocks = vec![block; numbers.end as usize];
        let mut pool =
            BlockPool { blocks, numbers: numbers.clone(), first: NONE, last: NONE, free: 0, cached: 0 };
        numbers.for_each(|block| pool.link_last(block));
        pool
    }

    pub(super) fn blocks(&self) -> u32 {
        self.numbers.len() as u32
    }

    /// Blocks that `allocate` can still hand out, cached ones included.
    pub(super) fn free(&self) -> u32 {
        self.free
    }

    /// Free blocks that keep their content.
    pub(super) fn cached(&self) -> u32 {
        self.cached
    }

    pub(super) fn references(&self, block: BlockId) -> u32 {
        self.blocks[block as usize].references
    }

    /// A block with one reference, and the hash of the content that is lost with it.
    pub(super) fn allocate(&mut self) -> Option<(BlockId, Option<BlockHash>)> {
        let block = self.first;
        if block == NONE {
            return None;
        }
        self.unlink(block);
        let entry = &mut self.blocks[block as usize];
        entry.references = 1;
        Some((block, entry.hash.take()))
    }

    /// Adds a reference; a free block leaves the free list with its content.
    pub(super) fn retain(&mut self, block: BlockId) {
        if self.references(block) == 0 {
            self.unlink(block);
        }
        self.blocks[block as usize].references += 1;
    }

    /// Drops a reference; the last one frees the block.
    pub(super) fn release(&mut self, block: BlockId) {
        let entry = &mut self.blocks[block as usize];
        assert!(entry.references > 0, "block {block} is released more often than retained");
        entry.references -= 1;
        if entry.references > 0 {
            return;
        }
        match entry.hash {
            Some(_) => self.link_last(block),
            None => self.link_first(block),
        }
    }

    /// Marks the content of a referenced block as findable under `hash`.
    pub(super) fn name(&mut self, block: BlockId, hash: BlockHash) {
        let entry = &mut self.blocks[block as usize];
        assert!(entry.references > 0, "a free block is never written");
        entry.hash = Some(hash);
    }

    /// The block's content is no longer wanted: a free block is reused first.
    pub(super) fn forget(&mut self, block: BlockId) {
        let free = self.references(block) == 0;
        if free {
            self.unlink(block);
        }
        self.blocks[block as usize].hash = None;
        if free {
            self.link_first(block);
        }
    }

    fn link_last(&mut self, block: BlockId) {
        let previous = self.last;
        self.link(block, previous, NONE);
    }

    fn link_first(&mut self, block: BlockId) {
        let next = self.first;
        self.link(block, NONE, next);
    }

    fn link(&mut self, block: BlockId, previous: u32, next: u32) {
        let entry = &mut self.blocks[block as usize];
        (entry.previous, entry.next) = (previous, next);
        self.free += 1;
        self.cached += u32::from(entry.hash.is_some());
        self.join(previous, block);
        self.join(block, next);
    }

    fn unlink(&mut self, block: BlockId) {
        let entry = &mut self.blocks[block as usize];
        let (previous, next) = (entry.previous, entry.next);
        (entry.previous, entry.next) = (NONE, NONE);
        self.free -= 1;
        self.cached -= u32::from(entry.hash.is_some());
        self.join(previous, next);
    }

    /// Makes `right` follow `left`; `NONE` stands for the end of the list.
    fn join(&mut self, left: u32, right: u32) {
        match left {
            NONE => self.first = right,
            _ => self.blocks[left as usize].next = right,
        }
        match right {
            NONE => self.last = left,
            _ => self.blocks[right as usize].previous = left,
        }
    }
}

#[cfg(test)]
impl BlockPool {
    /// In the order of reuse.
    pub(super) fn free_list(&self) -> Vec<BlockId> {
        let next = |block: &BlockId| self.blocks[*block as usize].next;
        let at = |block| (block != NONE).then_some(block);
        std::iter::successors(at(self.first), |block| at(next(block))).collect()
    }

    pub(super) fn numbers(&self) -> Range<BlockId> {
        self.numbers.clone()
    }

    pub(super) fn hash(&self, block: BlockId) -> Option<BlockHash> {
        self.blocks[block as usize].hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(value: u64) -> BlockHash {
        BlockHash::root(value)
    }

    #[test]
    fn every_block_is_handed_out_once() {
        let mut pool = BlockPool::new(0..3);
        let blocks: Vec<_> = std::iter::from_fn(|| pool.allocate()).collect();
        assert_eq!(blocks, [(0, None), (1, None), (2, None)]);
        assert_eq!((pool.free(), pool.cached()), (0, 0));
    }

    #[test]
    fn a_block_is_free_when_its_last_reference_goes() {
        let mut pool = BlockPool::new(0..1);
        let (block, _) = pool.allocate().unwrap();
        pool.retain(block);
        pool.release(block);
        assert_eq!(pool.allocate(), None);
        pool.release(block);
        assert_eq!(pool.allocate(), Some((block, None)));
    }

    #[test]
    fn the_least_recently_used_content_goes_first_and_empty_blocks_before_it() {
        let mut pool = BlockPool::new(0..4);
        while pool.allocate().is_some() {}
        for block in [2, 0, 3] {
            pool.name(block, hash(block.into()));
            pool.release(block);
        }
        pool.release(1);
        pool.retain(2);
        pool.release(2);
        assert_eq!(pool.free_list(), [1, 0, 3, 2]);
        assert_eq!(pool.cached(), 3);
        pool.forget(3);
        assert_eq!(pool.free_list(), [3, 1, 0, 2]);
        assert_eq!(pool.allocate(), Some((3, None)));
        assert_eq!(pool.allocate(), Some((1, None)));
        assert_eq!(pool.allocate(), Some((0, Some(hash(0)))));
    }

    #[test]
    #[should_panic(expected = "released more often")]
    fn releasing_twice_is_noticed() {
        let mut pool = BlockPool::new(0..1);
        let (block, _) = pool.allocate().unwrap();
        pool.release(block);
        pool.release(block);
    }
}
