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
    /// the rows' positions. Panics when shapes or block tables do not fit, or two rows have one place in the cache.
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

fn check(qkv: &Rows, how: &RotaryStore<'_>, cache: &mut KvCache) {
    let shape = how.shape;
    shape.check();
    let cached = cache.shape();
    assert_eq!((cached.kv_heads, cached.head_dim), (shape.kv_heads, shape.head_dim), "heads of the cache");
    assert_eq!(qkv.width(), shape.qkv_width(), "width of queries, keys and values");
    assert!(qkv.rows() >= how.batch.rows.len(), "fewer rows than the batch has");
    assert!(how.rotary.dims() <= shape.head_dim, "more rotated dimensions than a head has");
    check_tables(how.batch, cache);
    check_places(how.batch, cache);
}

/// Each row writes a place of its own: threads would write the same one at a time.
fn check_places(batch: &BatchView<'_>, cache: &mut KvCache) {
    let block_size = cache.shape().block_size;
    let bits = block_size.trailing_zeros();
    let places = batch.rows.iter().map(|row| {
        let position = row.position as usize;
        let table = batch.block_tables[row.sequence as usize];
        (table[position >> bits], position & (block_size - 1))
    });
    assert!(cache.are_apart(places), "two rows have one place in the cache");
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
            // SAFETY: `check` holds for every row, so that its position is a place in the cache that no other row
            // of the batch has; a row is in one thread's range.
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
                let at = (self.pages.pages(block, head), position % block_size);
                match self.pages.shape.cache_type {
                    CacheType::F32 => store::<S, F32>(&self.pages, at, key, value),
                    CacheType::F16 => store::<S, F16>(&self.pages, at, key, value),
                    CacheType::Bf16 => store::<S, Bf16>(&self.pages, at, key, value),
                }
            }
        }
    }
}

/// Writes one token's key and value into a slot of a page of keys and one of values.
///
/// # Safety
/// They are pages of `pages`, the slot lies in them and nobody else accesses it; the processor has the
/// instruction set of `S`.
#[inline(always)]
unsafe fn store<S: Simd16, E: Element>(
    pages: &LayerPages,
    ((keys, values), slot): ((*mut u8, *mut u8), usize),
    key: &[f32],
    value: &[f32],
) {
    let shape = &pages.shape;
    // SAFETY: the slot lies in both pages; the rest is the caller's promise.
    unsafe {
        let k = keys.cast::<E::Bits>().add(slot);
        let v = values.cast::<E::Bits>().add(slot * shape.width());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::attention::RowPlace;
    use crate::cpu::isa::Isa;
    use crate::cpu::kv_cache::KvCacheShape;
    use crate::cpu::rotary::RotaryStyle;
    use half::{bf16, f16};

    const SHAPE: HeadShape = HeadShape { query_heads: 2, kv_heads: 2, head_dim: 24, scale: 1.0 };

    /// Element `index` of a page of layer 1, as f32.
    fn element(cache: &KvCache, page: *mut u8, index: usize) -> f32 {
        // SAFETY: the tests ask for elements inside pages that exist.
        unsafe {
            match cache.shape().cache_type {
                CacheType::F32 => *page.cast::<f32>().add(index),
                CacheType::F16 => f16::from_bits(*page.cast::<u16>().add(index)).to_f32(),
                CacheType::Bf16 => bf16::from_bits(*page.cast::<u16>().add(index)).to_f32(),
            }
        }
    }

    fn check(isa: Isa, cache_type: CacheType, round: fn(f32) -> f32) {
        let shape =
            KvCacheShape { layers: 2, blocks: 3, block_size: 16, kv_heads: 2, head_dim: 24, cache_type };
        let mut cache = KvCache::new(shape).unwrap();
        let rotary = RotaryTable::new(&[0.5, 0.1], RotaryStyle::Interleaved, 1.0, 100).unwrap();
        let places: Vec<RowPlace> =
            (14..20).map(|position| RowPlace { sequence: 0, position, is_prompt: false }).collect();
        let batch = BatchView { rows: &places, block_tables: &[&[2, 0]] };
        let mut qkv = Rows::new(places.len(), SHAPE.qkv_width());
        for row in 0..places.len() {
            for (i, x) in qkv.row_mut(row).iter_mut().enumerate() {
                *x = 1.0 / (3.0 + (row * 144 + i) as f32);
            }
        }
        qkv.row_mut(0)[143] = 1e9;
        let how = RotaryStore { batch: &batch, shape: &SHAPE, rotary: &rotary, layer: 1 };
        Cpu::new(isa, 2).rotary_and_store(&mut qkv, &how, &mut cache);
        for (row, place) in places.iter().enumerate() {
            let (block, slot) = if place.position < 16 { (2, place.position as usize) } else { (0, row - 2) };
            for head in 0..2 {
                let (keys, values) = cache.layer(1).pages(block, head);
                for d in 0..24 {
                    let (key, value) = (qkv.row(row)[48 + head * 24 + d], qkv.row(row)[96 + head * 24 + d]);
                    assert_eq!(element(&cache, keys, d * 16 + slot), round(key), "{isa}");
                    assert_eq!(element(&cache, values, slot * 32 + d), round(value), "{isa}");
                }
            }
        }
        let (a, b) = (1.0f32 / 51.0, 1.0f32 / 52.0);
        let (c, s) = ((14.0f64 * 0.5).cos() as f32, (14.0f64 * 0.5).sin() as f32);
        assert_eq!(
            qkv.row(0)[48..50],
            [a * c - b * s, b * c + a * s],
            "{isa}: the first pair of the first key"
        );
    }

    #[test]
    #[should_panic(expected = "two rows have one place in the cache")]
    fn rows_with_one_place_are_refused() {
        let cache_type = CacheType::F16;
        let shape =
            KvCacheShape { layers: 1, blocks: 1, block_size: 16, kv_heads: 2, head_dim: 24, cache_type };
        let mut cache = KvCache::new(shape).unwrap();
        let rotary = RotaryTable::new(&[0.5, 0.1], RotaryStyle::Interleaved, 1.0, 100).unwrap();
        let places = [(0, 3), (0, 4), (1, 4)].map(|(sequence, position)| RowPlace {
            sequence,
            position,
            is_prompt: false,
        });
        let batch = BatchView { rows: &places, block_tables: &[&[0], &[0]] };
        let mut qkv = Rows::new(places.len(), SHAPE.qkv_width());
        let how = RotaryStore { batch: &batch, shape: &SHAPE, rotary: &rotary, layer: 0 };
        Cpu::new(Isa::PORTABLE, 2).rotary_and_store(&mut qkv, &how, &mut cache);
    }

    #[test]
    fn rotated_keys_and_values_lie_where_attention_reads_them() {
        for isa in Isa::supported() {
            check(isa, CacheType::F32, |x| x);
            check(isa, CacheType::Bf16, |x| bf16::from_f32(x).to_f32());
        }
    }

    #[test]
    fn values_beyond_f16_saturate() {
        for isa in Isa::supported() {
            check(isa, CacheType::F16, |x| f16::from_f32(x.min(65504.0)).to_f32());
        }
    }
}
