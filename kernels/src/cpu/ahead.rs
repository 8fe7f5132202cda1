//! Fetching ahead of what attention reads. Products with several rows bind the vector units and leave memory idle, attention of
//! generated tokens is the other way round: so tiles of products fetch keys and values that attention of the next layer
//! reads. Nothing of this shows in a result.
//!
//! They do so in the last products before attention only, and what a thread fetches there stays in its second cache. The
//! cache that all processors share may lose it to others first; where it does not, fetching in all products of a layer
//! gains twice as much, where it does, that costs more than it gains.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::cpu::attention::BatchView;
use crate::cpu::attention::plan::{FEW_TOKENS, runs, share_at_once};
use crate::cpu::kv_cache::LayerPages;
use crate::cpu::memory::AllocError;
use crate::cpu::pool::Line;

/// Rows of a product from which it leaves memory idle.
const ROWS: usize = 12;

/// The cache lines that a tile fetches while it takes one block of columns.
pub(crate) const BLOCK_LINES: usize = 4;

/// The most blocks of all sequences: far more than caches hold of a layer.
const BLOCKS_MAX: usize = 1 << 14;

/// What attention of the next layer reads.
#[derive(Default)]
pub(crate) struct Ahead {
    /// None before the first attention.
    pages: Option<LayerPages>,
    /// Of all sequences that generate a few rows, one after the other; at most `BLOCKS_MAX`.
    blocks: Vec<u32>,
    /// Lines that each thread has taken.
    taken: Vec<Line<AtomicUsize>>,
    /// Attention is near.
    is_near: bool,
}

impl Ahead {
    /// Once attention is near, products fetch what it reads for the batch in the layer of `pages`. The cache must have the
    /// blocks of the batch; what becomes of it later does not matter: only its addresses are used.
    pub(crate) fn expect(&mut self, pages: LayerPages, batch: &BatchView<'_>, threads: usize) {
        (self.pages, self.is_near) = (Some(pages), false);
        self.blocks.clear();
        for run in runs(batch).filter(|run| run.tokens <= FEW_TOKENS) {
            let left = BLOCKS_MAX - self.blocks.len();
            let blocks = run.keys().div_ceil(pages.shape.block_size).min(left);
            self.blocks.extend(&batch.block_tables[run.sequence][..blocks]);
        }
        self.taken.resize_with(threads, Line::default);
        self.taken.iter_mut().for_each(|count| *count.0.get_mut() = 0);
    }

    /// Has memory for batches of up to `rows` rows, whose sequences have up to `sequence_blocks`.
    pub(crate) fn reserve(
        &mut self,
        (rows, sequence_blocks): (usize, usize),
        threads: usize,
    ) -> Result<(), AllocError> {
        let failed = |_| AllocError { bytes: Self::bytes_max((rows, sequence_blocks), threads) };
        self.blocks.clear();
        self.blocks.try_reserve_exact(blocks_max(rows, sequence_blocks)).map_err(failed)?;
        self.taken.clear();
        self.taken.try_reserve_exact(threads).map_err(failed)
    }

    pub(crate) fn bytes(&self) -> usize {
        bytes(self.blocks.capacity(), self.taken.capacity())
    }

    /// What `reserve` takes.
    pub(crate) fn bytes_max((rows, sequence_blocks): (usize, usize), threads: usize) -> usize {
        bytes(blocks_max(rows, sequence_blocks), threads)
    }

    /// Few products come before the next attention.
    pub(crate) fn near(&mut self) {
        self.is_near = true;
    }

    /// What is left for a thread to fetch in a product with so many rows.
    pub(crate) fn left(&self, rows: usize, thread: (usize, usize)) -> Option<Left<'_>> {
        let pages = self.pages.filter(|_| rows >= ROWS && self.is_near)?;
        Some(Left { pages, blocks: &self.blocks, taken: &self.taken.get(thread.0)?.0, thread })
    }
}

fn blocks_max(rows: usize, sequence_blocks: usize) -> usize {
    (rows * sequence_blocks).min(BLOCKS_MAX)
}

fn bytes(blocks: usize, threads: usize) -> usize {
    blocks * size_of::<u32>() + threads * size_of::<Line<AtomicUsize>>()
}

/// A thread's part of what is to be fetched: that of the keys that it takes first ([`Plan::first`]), then what the others
/// leave, in turn.
///
/// [`Plan::first`]: crate::cpu::attention::plan::Plan::first
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pages: LayerPages,
    blocks: &'a [u32],
    taken: &'a AtomicUsize,
    thread: (usize, usize),
}

/// Neighbouring cache lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) start: *const u8,
    pub(crate) lines: usize,
}

impl Stretch {
    pub(crate) const NONE: Stretch = Stretch { start: std::ptr::null(), lines: 0 };
}

impl Left<'_> {
    /// The next lines, at most `most` of them, which are then taken.
    #[inline]
    pub(crate) fn take(&self, most: usize) -> Stretch {
        let (shape, (id, threads)) = (&self.pages.shape, self.thread);
        // Values may have a few lines more than keys: those are left.
        let page_lines = shape.page_bytes().0 / 64;
        let taken = self.taken.load(Relaxed);
        let (count, line) = (taken / page_lines, taken % page_lines);
        let first = share_at_once(self.blocks.len() * 2 * shape.kv_heads, threads);
        let page =
            if count < first { id * first + count } else { first * threads + (count - first) * threads + id };
        let (head, is_value) = (page / 2 % shape.kv_heads, page % 2 == 1);
        let Some(block) = self.blocks.get(page / (2 * shape.kv_heads)) else { return Stretch::NONE };
        let lines = most.min(page_lines - line);
        self.taken.store(taken + lines, Relaxed);
        let (keys, values) = self.pages.pages(*block, head);
        let start = if is_value { values } else { keys };
        Stretch { start: start.wrapping_add(line * 64), lines }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::attention::RowPlace;
    use crate::cpu::kv_cache::{CacheType, KvCache, KvCacheShape};
    use std::collections::BTreeSet;

    fn row(sequence: u32, position: u32) -> RowPlace {
        RowPlace { sequence, position, is_prompt: false }
    }

    fn cache() -> KvCache {
        let (cache_type, block_size) = (CacheType::F16, 16);
        KvCache::new(KvCacheShape {
            layers: 2,
            blocks: 70,
            block_size,
            kv_heads: 3,
            head_dim: 40,
            cache_type,
        })
        .unwrap()
    }

    /// Addresses of the lines that all threads take, in stretches of `most`, each once.
    fn fetched(ahead: &mut Ahead, threads: usize, most: usize) -> BTreeSet<usize> {
        assert!(ahead.left(ROWS, (0, threads)).is_none());
        ahead.near();
        let mut lines = BTreeSet::new();
        for id in 0..threads {
            let left = ahead.left(ROWS, (id, threads)).unwrap();
            loop {
                let stretch = left.take(most);
                if stretch == Stretch::NONE {
                    break;
                }
                assert!((1..=most).contains(&stretch.lines));
                let start = stretch.start as usize;
                assert!((0..stretch.lines).all(|line| lines.insert(start + line * 64)));
            }
        }
        lines
    }

    #[test]
    fn all_keys_and_values_of_generating_sequences_are_fetched_once() {
        let cache = cache();
        let (first, second, prompt) = ([3, 69, 1], [50, 2], [10, 11]);
        let mut rows = vec![row(0, 33), row(1, 15)];
        rows.extend((0..20).map(|position| row(2, position)));
        let tables: [&[u32]; 3] = [&first, &second, &prompt];
        let batch = BatchView { rows: &rows, block_tables: &tables };
        let pages = cache.layer(1);
        // 34 keys lie in three blocks, 16 in one; a prompt's are not fetched.
        let mut expected = BTreeSet::new();
        for (block, head) in
            [3, 69, 1, 50].into_iter().flat_map(|block| (0..3).map(move |head| (block, head)))
        {
            let (keys, values) = pages.pages(block, head);
            for start in [keys, values] {
                expected.extend((0..16 * 40 * 2 / 64).map(|line| start as usize + line * 64));
            }
        }
        for (threads, most) in [(1, 1000), (2, 7), (3, 20), (16, 1)] {
            let mut ahead = Ahead::default();
            for _ in 0..2 {
                ahead.expect(pages, &batch, threads);
                assert_eq!(fetched(&mut ahead, threads, most), expected);
                assert_eq!(ahead.left(ROWS, (0, threads)).unwrap().take(most), Stretch::NONE);
            }
        }
    }

    #[test]
    fn products_that_memory_binds_fetch_nothing() {
        let cache = cache();
        let mut ahead = Ahead::default();
        assert!(ahead.left(ROWS, (0, 1)).is_none());
        ahead.expect(cache.layer(0), &BatchView { rows: &[row(0, 5)], block_tables: &[&[0]] }, 1);
        ahead.near();
        assert!(ahead.left(ROWS - 1, (0, 1)).is_none() && ahead.left(ROWS, (0, 1)).is_some());
    }
}
