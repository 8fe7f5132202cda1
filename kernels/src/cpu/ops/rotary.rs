//! Rotation of queries and keys, and the way of keys and values into the cache.

use super::Cpu;
use super::attention::check_tables;
use crate::cpu::attention::element::{Bf16, Element, F16, F32};
use crate::cpu::attention::{BatchView, HeadShape};
use crate::cpu::kv_cache::{CacheType, KvCache, LayerPages};
use crate::cpu::rotary::{RotaryTable, rotate};
use crate::cpu::rows::{Rows, SharedRows};
use crate::cpu::simd::{Kernel, LANES, Simd16};
use std::ops::Range;

/// How and where `rotary_and_store` rotates and stores.
#[derive(Clone, Copy)]
pub struct RotaryStore<'a> {
    pub batch: &'a BatchView<'a>,
    pub shape: &'a HeadShape,
    pub rotary: &'a RotaryTable,
    pub layer: usize,
}

/// Rows that one thread does alone: waking others would take longer.
const ROWS_ALONE: usize = 2;

impl Cpu {
    /// Rotates the queries and keys of every row in place, then stores keys and values in the cache at
    /// the rows' positions. Panics when shapes or block tables do not fit.
    pub fn rotary_and_store(&mut self, qkv: &mut Rows, how: &RotaryStore<'_>, cache: &mut KvCache) {
        let rows = how.batch.rows.len();
        check(qkv, how, cache);
        let job = Job { how, qkv: qkv.shared(), pages: cache.layer_mut(how.layer) };
        if rows <= ROWS_ALONE {
            self.isa.run(RowRange { job: &job, range: 0..rows });
        } else {
            let isa = self.isa;
            self.pool.run(&|team| isa.run(RowRange { job: &job, range: team.share(rows) }));
        }
    }
}

fn check(qkv: &Rows, how: &RotaryStore<'_>, cache: &KvCache) {
    let shape = how.shape;
    shape.check();
    let cached = cache.shape();
    assert_eq!((cached.kv_heads, cached.head_dim), (shape.kv_heads, shape.head_dim), "heads of the cache");
    assert_eq!(qkv.width(), shape.qkv_width(), "width of queries, keys and values");
    assert!(qkv.rows() >= how.batch.rows.len(), "fewer rows than the batch has");
    assert!(how.rotary.dims() <= shape.head_dim, "more rotated dimensions than a head has");
    check_tables(how.batch, cache);
}

/// One call, as its threads share it.
struct Job<'a> {
    how: &'a RotaryStore<'a>,
    qkv: SharedRows,
    pages: LayerPages,
}

struct RowRange<'a> {
    job: &'a Job<'a>,
    range: Range<usize>,
}

impl Kernel for RowRange<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        for row in self.range {
            // SAFETY: `check` holds for every row; a row is in one thread's range, and its position is a
            // place in the cache that no other row of the batch has.
            unsafe { self.job.run_row::<S>(row) };
        }
    }
}

impl Job<'_> {
    #[inline(always)]
    unsafe fn run_row<S: Simd16>(&self, row: usize) {
        let (shape, place) = (self.how.shape, self.how.batch.rows[row]);
        // SAFETY: a row of `qkv`, this thread's own.
        let qkv = unsafe { self.qkv.slice_mut(row) };
        let (rotated, values) = qkv.split_at_mut((shape.query_heads + shape.kv_heads) * shape.head_dim);
        let angles = self.how.rotary.at(place.position);
        for head in rotated.chunks_exact_mut(shape.head_dim) {
            rotate(head, angles, self.how.rotary.style());
        }
        let keys = &rotated[shape.query_heads * shape.head_dim..];
        let block_size = self.pages.shape.block_size;
        let position = place.position as usize;
        let block = self.how.batch.block_tables[place.sequence as usize][position / block_size];
        for head in 0..shape.kv_heads {
            let of_head = head * shape.head_dim..(head + 1) * shape.head_dim;
            let (key, value) = (&keys[of_head.clone()], &values[of_head]);
            // SAFETY: `check_tables` found the block in the cache.
            unsafe {
                let page = self.pages.page(block, head);
                let slot = position % block_size;
                match self.pages.shape.cache_type {
                    CacheType::F32 => store::<S, F32>(&self.pages, page, slot, key, value),
                    CacheType::F16 => store::<S, F16>(&self.pages, page, slot, key, value),
                    CacheType::Bf16 => store::<S, Bf16>(&self.pages, page, slot, key, value),
                }
            }
        }
    }
}

/// Writes one token's key and value into slot `slot` of a page.
///
/// # Safety
/// `page` is a page of `pages`, the slot lies in it and nobody else accesses it; the processor has the
/// instruction set of `S`.
#[inline(always)]
unsafe fn store<S: Simd16, E: Element>(
    pages: &LayerPages,
    page: *mut u8,
    slot: usize,
    key: &[f32],
    value: &[f32],
) {
    let shape = &pages.shape;
    // SAFETY: keys end at `key_elements`, values at the page's end; the rest is the caller's promise.
    unsafe {
        let k = page.cast::<E::Bits>().add(slot);
        let v = page.cast::<E::Bits>().add(shape.key_elements() + slot * shape.width());
        for d in (0..key.len()).step_by(LANES) {
            let lanes = LANES.min(key.len() - d);
            let mut line = std::mem::MaybeUninit::<[E::Bits; LANES]>::uninit();
            E::store::<S>(line.as_mut_ptr().cast(), S::load_first(key.as_ptr().add(d), lanes));
            let line = line.assume_init();
            for (i, &x) in line.iter().enumerate().take(lanes) {
                *k.add((d + i) * shape.block_size) = x;
            }
            E::store::<S>(v.add(d), S::load_first(value.as_ptr().add(d), lanes));
        }
    }
}
