//! Finds full blocks by the hash of their whole prefix, and bounds how many ended sequences keep theirs.
//!
//! `prefix_cache_n` counts the prefixes of ended sequences that stay findable: when one more ends, the oldest is
//! dropped. A prefix that continues a kept one takes its place, so a conversation counts once. 0 turns the index
//! off: nothing is shared, not even between running sequences. Blocks may go earlier, when the pool reuses them, and
//! prefixes when the blocks of newer ones fill the pool.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::block_hash::BlockHash;
use super::block_pool::BlockId;

#[derive(Debug)]
pub(super) struct PrefixIndex {
    blocks: HashMap<BlockHash, BlockId, BuildHasherDefault<FirstBits>>,
    prefixes_max: usize,
    /// Most hashes in `kept`. Those of one prefix fill the pool at most: beyond twice that, what is newer than the oldest
    /// prefix has filled it.
    kept_max: usize,
    /// Prefixes of ended sequences, oldest first; none is the start of another.
    prefixes: VecDeque<Vec<BlockHash>>,
    /// Hashes in all `prefixes`, of which many may begin alike: they take a kilobyte for each block of the pool at most.
    hashes: usize,
    hashes_max: usize,
    /// In how many of `prefixes` a hash occurs.
    kept: HashMap<BlockHash, u32, BuildHasherDefault<FirstBits>>,
}

impl PrefixIndex {
    /// At most `blocks` are findable: publishing one never allocates.
    pub(super) fn new(prefix_cache_n: usize, blocks: u32) -> Self {
        let capacity = if prefix_cache_n == 0 { 0 } else { blocks as usize };
        PrefixIndex {
            blocks: HashMap::with_capacity_and_hasher(capacity, BuildHasherDefault::default()),
            prefixes_max: prefix_cache_n,
            kept_max: 2 * blocks as usize,
            prefixes: VecDeque::new(),
            hashes: 0,
            hashes_max: 64 * blocks as usize,
            kept: HashMap::default(),
        }
    }

    /// Else nothing is to be looked for, inserted or kept.
    pub(super) fn is_enabled(&self) -> bool {
        self.prefixes_max > 0
    }

    pub(super) fn find(&self, hash: BlockHash) -> Option<BlockId> {
        self.blocks.get(&hash).copied()
    }

    /// Makes `block` findable, unless another block with the same content is.
    pub(super) fn insert(&mut self, hash: BlockHash, block: BlockId) -> bool {
        if self.blocks.contains_key(&hash) {
            return false;
        }
        self.blocks.insert(hash, block);
        true
    }

    pub(super) fn remove(&mut self, hash: BlockHash) -> Option<BlockId> {
        self.blocks.remove(&hash)
    }

    /// Keeps the prefix of an ended sequence and writes to `dropped` the blocks that nobody keeps any more.
    /// They stay findable until the caller removes them, because running sequences may still use them.
    pub(super) fn keep(&mut self, prefix: Vec<BlockHash>, dropped: &mut Vec<(BlockHash, BlockId)>) {
        if prefix.is_empty() {
            return;
        }
        for hash in &prefix {
            *self.kept.entry(*hash).or_insert(0) += 1;
        }
        self.hashes += prefix.len();
        let starts_new = |old: &[BlockHash]| prefix.get(old.len() - 1) == old.last();
        let old = self.prefixes.iter().position(|old| starts_new(old));
        let covered = |old: &[BlockHash]| old.get(prefix.len() - 1) == prefix.last();
        // A shorter answer to the same prompt: the longer prefix stays and becomes the newest.
        if let Some(longer) = self.prefixes.iter().position(|old| covered(old)) {
            let longer = self.prefixes.remove(longer).expect("just found");
            self.drop_prefix(prefix, dropped);
            self.prefixes.push_back(longer);
            return;
        }
        if let Some(old) = old.and_then(|old| self.prefixes.remove(old)) {
            self.drop_prefix(old, dropped);
        }
        self.prefixes.push_back(prefix);
        while self.is_over() {
            let oldest = self.prefixes.pop_front().expect("without prefixes nothing is kept");
            self.drop_prefix(oldest, dropped);
        }
    }

    fn is_over(&self) -> bool {
        self.prefixes.len() > self.prefixes_max
            || self.kept.len() > self.kept_max
            || self.hashes > self.hashes_max
    }

    fn drop_prefix(&mut self, prefix: Vec<BlockHash>, dropped: &mut Vec<(BlockHash, BlockId)>) {
        self.hashes -= prefix.len();
        // The end of the prefix first: it is the first to be reused.
        for hash in prefix.into_iter().rev() {
            let count = self.kept.get_mut(&hash).expect("every kept prefix is counted");
            *count -= 1;
            if *count > 0 {
                continue;
            }
            self.kept.remove(&hash);
            if let Some(block) = self.find(hash) {
                dropped.push((hash, block));
            }
        }
    }
}

/// Block hashes are uniform already: their low bits serve as the table's hash.
#[derive(Default)]
struct FirstBits(u64);

impl Hasher for FirstBits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for (shift, byte) in bytes.iter().take(8).enumerate() {
            self.0 |= u64::from(*byte) << (8 * shift);
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }
}

#[cfg(test)]
impl PrefixIndex {
    pub(super) fn entries(&self) -> impl Iterator<Item = (BlockHash, BlockId)> {
        self.blocks.iter().map(|(hash, block)| (*hash, *block))
    }

    pub(super) fn assert_consistent(&self) {
        assert!(self.prefixes.len() <= self.prefixes_max, "no more prefixes than allowed are kept");
        assert!(self.kept.len() <= self.kept_max, "nor more names of blocks than the pool has a use for");
        assert_eq!(self.hashes, self.prefixes.iter().flatten().count(), "hashes are counted");
        assert!(self.hashes <= self.hashes_max, "prefixes take a bounded memory");
        let is_exact = |prefix: &Vec<BlockHash>| prefix.capacity() == prefix.len();
        assert!(self.prefixes.iter().all(is_exact), "prefixes take no more memory than they need");
        let mut kept = HashMap::default();
        self.prefixes.iter().flatten().for_each(|hash| *kept.entry(*hash).or_insert(0) += 1);
        assert_eq!(self.kept, kept, "kept blocks are counted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(tokens: &[u32]) -> Vec<BlockHash> {
        let mut hash = BlockHash::root(0);
        let mut next = |token: &u32| {
            hash = hash.child(&[*token]);
            hash
        };
        tokens.iter().map(&mut next).collect()
    }

    /// An index in which the blocks of `prefixes` are findable; block numbers are tokens.
    fn check(prefix_cache_n: usize, prefixes: &[&[u32]], dropped_expected: &[u32]) {
        let mut index = PrefixIndex::new(prefix_cache_n, 8);
        let mut dropped = Vec::new();
        for prefix in prefixes {
            let hashes = chain(prefix);
            for (hash, token) in hashes.iter().zip(*prefix) {
                index.insert(*hash, *token);
            }
            index.keep(hashes, &mut dropped);
            index.assert_consistent();
        }
        let dropped: Vec<_> = dropped.into_iter().map(|(_, block)| block).collect();
        assert_eq!(dropped, dropped_expected, "{prefixes:?}");
    }

    #[test]
    fn the_oldest_prefix_beyond_the_bound_is_dropped_end_first() {
        check(2, &[&[1, 2], &[3], &[4]], &[2, 1]);
    }

    #[test]
    fn blocks_of_another_kept_prefix_stay() {
        check(2, &[&[1, 2], &[1, 3], &[4]], &[2]);
    }

    #[test]
    fn a_continued_prefix_counts_once() {
        check(2, &[&[1], &[1, 2], &[1, 2, 3], &[4]], &[]);
    }

    #[test]
    fn a_repeated_or_shorter_prefix_renews_the_longer_one() {
        check(2, &[&[1, 2], &[3], &[1], &[4]], &[3]);
        check(2, &[&[1, 2], &[3], &[1, 2], &[4]], &[3]);
    }

    #[test]
    fn prefixes_whose_blocks_are_long_reused_are_dropped() {
        let mut index = PrefixIndex::new(1 << 20, 8);
        for first in 0..100 {
            index.keep(chain(&[2 * first, 2 * first + 1]), &mut Vec::new());
            index.assert_consistent();
        }
        assert_eq!(index.prefixes.len(), 8);
        assert_eq!(index.prefixes[7], chain(&[198, 199]));
    }

    #[test]
    fn prefixes_that_begin_alike_take_a_bounded_memory() {
        let mut index = PrefixIndex::new(1 << 20, 40);
        for last in 0..100 {
            let tokens: Vec<u32> = (0..39).chain([100 + last]).collect();
            index.keep(chain(&tokens), &mut Vec::new());
            index.assert_consistent();
        }
        // Of 80 different hashes 41 prefixes: as many as `kept_max` allows.
        assert_eq!(index.prefixes.len(), 41);
        index.hashes_max = 400;
        index.keep(chain(&[7]), &mut Vec::new());
        assert_eq!((index.prefixes.len(), index.hashes), (10, 361));
    }

    #[test]
    fn the_first_block_with_a_content_is_the_one_found() {
        let mut index = PrefixIndex::new(1, 8);
        let hash = BlockHash::root(0);
        assert!(index.insert(hash, 1));
        assert!(!index.insert(hash, 2));
        assert_eq!(index.find(hash), Some(1));
        assert_eq!(index.remove(hash), Some(1));
        assert_eq!(index.find(hash), None);
    }
}
