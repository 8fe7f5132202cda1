//! Takes the rows of a unit over one part of their keys: finds the keys of each step in the pages, and gives
//! `step` a few rows at a time.

use super::PART;
use super::element::{Bf16, Element, F16, F32, Tile};
use super::step::{RowState, STEP, StepKeys, step};
use super::unit::Job;
use super::wide::WideStep;
use super::wide_tiles::fill;
use crate::cpu::kv_cache::CacheType;
use crate::cpu::simd::{Kernel, LANES, Simd16};

/// From this many rows on, a step's keys and values are converted once and not for each few rows.
const TILE_ROWS: usize = 12;

impl Job<'_> {
    #[inline(always)]
    pub(super) unsafe fn run_part<S: Simd16>(&self, part: usize) {
        // SAFETY: the areas have room for the unit's rows; the rest is the caller's promise.
        unsafe {
            std::slice::from_raw_parts_mut(self.areas.o, self.unit.rows * self.state.width).fill(0.0);
            std::slice::from_raw_parts_mut(self.areas.sum, self.unit.rows * LANES).fill(0.0);
            std::slice::from_raw_parts_mut(self.areas.max, self.unit.rows).fill(f32::NEG_INFINITY);
            match self.call.pages.shape.cache_type {
                CacheType::F32 => self.run_steps::<S, F32>(part),
                CacheType::F16 => self.run_steps::<S, F16>(part),
                CacheType::Bf16 => self.run_steps::<S, Bf16>(part),
            }
        }
    }

    #[inline(always)]
    unsafe fn run_steps<S: Simd16, E: Element>(&self, part: usize) {
        let end = self.seen(self.unit.rows - 1).min((part + 1) * PART);
        for key in (part * PART..end).step_by(STEP) {
            // SAFETY: the caller's promises; a tile is filled before it is used.
            unsafe {
                let keys = self.step_keys::<E>(key);
                if let Some(code) = self.matrix_unit() {
                    let tiles = (self.areas.k.cast(), self.areas.v.cast());
                    fill::<S, E>(&keys, (self.state.dims, (end - key).min(STEP)), tiles);
                    (code.attend)(&WideStep {
                        rows: self.unit.rows,
                        seen: self.areas.seen,
                        first_key: key,
                        state: self.state,
                        keys: self.areas.k.cast_const().cast(),
                        values: self.areas.v.cast_const().cast(),
                    });
                } else if self.unit.rows >= TILE_ROWS {
                    let tile = self.fill_tile::<S, E>(&keys, (end - key).min(STEP));
                    self.run_rows::<S, Tile>(key, &tile);
                } else {
                    self.run_rows::<S, E>(key, &keys);
                }
            }
        }
    }

    /// Where the keys from `key` on lie; beyond the sequence's last block the last one is repeated.
    #[inline(always)]
    unsafe fn step_keys<E: Element>(&self, key: usize) -> StepKeys<E::Bits> {
        let shape = &self.call.pages.shape;
        let table = self.call.block_tables[self.unit.run.sequence];
        let blocks = self.unit.run.keys().div_ceil(shape.block_size);
        let at = |key: usize| {
            let block = table[(key / shape.block_size).min(blocks - 1)];
            let offset = key % shape.block_size;
            // SAFETY: the call's block tables name blocks of the cache; the offsets stay in the page.
            unsafe {
                let (keys, values) = self.call.pages.pages(block, self.unit.kv_head);
                let (keys, values) = (keys.cast::<E::Bits>(), values.cast::<E::Bits>());
                (keys.add(offset).cast_const(), values.add(offset * shape.width()).cast_const())
            }
        };
        let here: [_; STEP / LANES] = std::array::from_fn(|j| at(key + j * LANES));
        let ahead: [_; STEP / LANES] = std::array::from_fn(|j| at(key + STEP + j * LANES));
        StepKeys {
            k: here.map(|pair| pair.0),
            v: here.map(|pair| pair.1),
            k_ahead: ahead.map(|pair| pair.0),
            v_ahead: ahead.map(|pair| pair.1),
            k_stride: shape.block_size,
            v_stride: shape.width(),
        }
    }

    /// Converts a step's keys, and the first `count` of its values, to f32.
    #[inline(always)]
    unsafe fn fill_tile<S: Simd16, E: Element>(
        &self,
        keys: &StepKeys<E::Bits>,
        count: usize,
    ) -> StepKeys<f32> {
        let (k, v, width) = (self.areas.k, self.areas.v, self.state.width);
        // SAFETY: the areas have room for a step; keys and values are readable by the caller's promise.
        unsafe {
            for d in 0..self.state.dims {
                for j in 0..STEP / LANES {
                    let x = E::load::<S>(keys.k[j].add(d * keys.k_stride));
                    S::store(k.add(d * STEP + j * LANES), x);
                }
            }
            for t in 0..count {
                let from = keys.v[t / LANES].add(t % LANES * keys.v_stride);
                for d in (0..width).step_by(LANES) {
                    S::store(v.add(t * width + d), E::load::<S>(from.add(d)));
                }
            }
        }
        let k = std::array::from_fn(|j| k.wrapping_add(j * LANES).cast_const());
        let v = std::array::from_fn(|j| v.wrapping_add(j * LANES * width).cast_const());
        StepKeys { k, v, k_stride: STEP, v_stride: width, k_ahead: k, v_ahead: v }
    }

    /// Takes all rows over one step, a few at a time.
    #[inline(always)]
    unsafe fn run_rows<S: Simd16, E: Element>(&self, key: usize, keys: &StepKeys<E::Bits>) {
        let mut row = 0;
        while row < self.unit.rows {
            // SAFETY: that many rows are left in the unit.
            row += unsafe {
                match rows_taken(self.unit.rows - row) {
                    1 => self.run_few::<S, E, 1>(row, key, keys),
                    2 => self.run_few::<S, E, 2>(row, key, keys),
                    3 => self.run_few::<S, E, 3>(row, key, keys),
                    4 => self.run_few::<S, E, 4>(row, key, keys),
                    _ => self.run_few::<S, E, 6>(row, key, keys),
                }
            };
        }
    }

    #[inline(always)]
    unsafe fn run_few<S: Simd16, E: Element, const M: usize>(
        &self,
        row: usize,
        key: usize,
        keys: &StepKeys<E::Bits>,
    ) -> usize {
        let mut counts = [0; M];
        for (r, count) in counts.iter_mut().enumerate() {
            *count = self.seen(row + r).saturating_sub(key).min(STEP);
        }
        if counts[M - 1] > 0 {
            // SAFETY: the caller's promises, and `S` is the running instruction set.
            unsafe { S::call(StepKernel::<E, M> { rows: self.state.from(row), counts: &counts, keys }) };
        }
        M
    }
}

/// How many of the `rest` remaining rows are taken at a time: few remainders of one or two rows.
fn rows_taken(rest: usize) -> usize {
    match rest {
        1 | 2 => rest,
        3 | 5 => 3,
        4 | 7 | 8 => 4,
        _ => 6,
    }
}

/// `step` as a function of its own, so that the code exists once for each element type and row count.
struct StepKernel<'a, E: Element, const M: usize> {
    rows: RowState,
    counts: &'a [usize; M],
    keys: &'a StepKeys<E::Bits>,
}

impl<E: Element, const M: usize> Kernel for StepKernel<'_, E, M> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        // SAFETY: whoever makes the kernel answers for `step`'s conditions.
        unsafe { step::<S, E, M>(self.rows, self.counts, self.keys) }
    }
}
