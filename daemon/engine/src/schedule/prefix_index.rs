//! Finds full blocks by the hash of their whole prefix, and bounds how many ended sequences keep theirs.
//!
//! `prefix_cache_n` counts the prefixes of ended sequences that stay findable: when one more ends, the oldest is
//! dropped. A prefix that continues a kept one takes its place, so a conversation counts once. 0 turns the index
//! off: nothing is shared, not even between running sequences. Blocks may go earlier, when the pool reuses them.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::block_hash::BlockHash;
use super::block_pool::BlockId;

#[derive(Debug)]
pub(super) struct PrefixIndex {
    blocks: HashMap<BlockHash, BlockId, BuildHasherDefault<FirstBits>>,
    prefixes_max: usize,
    /// Prefixes of ended sequences, oldest first; none is the start of another.
    prefixes: VecDeque<Vec<BlockHash>>,
    /// In how many of `prefixes` a hash occurs.
    kept: HashMap<BlockHash, u32, BuildHasherDefault<FirstBits>>,
}

impl PrefixIndex {
    pub(super) fn new(prefix_cache_n: usize) -> Self {
        PrefixIndex {
            blocks: HashMap::default(),
            prefixes_max: prefix_cache_n,
            prefixes: VecDeque::new(),
            kept: HashMap::default(),
        }
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.prefixes_max > 0
    }

    pub(super) fn find(&self, hash: BlockHash) -> Option<BlockId> {
        self.blocks.get(&hash).copied()
    }

    /// Makes `block` findable, unless another block with the same content is.
    pub(super) fn insert(&mut self, hash: BlockHash, block: BlockId) -> bool {
        if !self.is_enabled() || self.blocks.contains_key(&hash) {
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
        if prefix.is_empty() || !self.is_enabled() {
            return;
        }
        for hash in &prefix {
            *self.kept.entry(*hash).or_insert(0) += 1;
        }
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
        if self.prefixes.len() > self.prefixes_max {
            let oldest = self.prefixes.pop_front().expect("just pushed");
            self.drop_prefix(oldest, dropped);
        }
    }

    fn drop_prefix(&mut self, prefix: Vec<BlockHash>, dropped: &mut Vec<(BlockHash, BlockId)>) {
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
