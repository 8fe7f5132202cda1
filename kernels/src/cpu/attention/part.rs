//! Takes the rows of a unit over one part of their keys: finds the keys of each step in the pages, and gives
//! `step` a few rows at a time.

use super::PART;
use super::element::{Bf16, Element, F16, F32, Tile};
use super::plan::Unit;
use super::step::{RowState, STEP, Step, StepKeys, steps};
use super::unit::Job;
use super::wide::WideStep;
use super::wide_tiles::fill;
use crate::cpu::kv_cache::CacheType;
use crate::cpu::simd::{Kernel, LANES, Simd16};
use std::marker::PhantomData;
use std::ops::Range;

/// From this many rows on, a step's keys and values are converted once and not for each few rows.
const TILE_ROWS: usize = 12;

/// Of keys and of values.
type Places<E> = [(*const <E as Element>::Bits, *const <E as Element>::Bits); STEP / LANES];

impl Job<'_> {
    #[inline(always)]
    pub(super) unsafe fn run_part<S: Simd16>(&self, part: usize) {
        // SAFETY: the areas have room for the unit's rows; the rest is the caller's promise.
        unsafe {
            std::slice::from_raw_parts_mut(self.areas.o, self.unit.rows * self.state.width).fill(0.0);
            std::slice::from_raw_parts_mut(self.areas.sum, self.unit.rows * LANES).fill(0.0);
            std::slice::from_raw_parts_mut(self.areas.max, self.unit.rows).fill(f32::NEG_INFINITY);
            match self.call.pages.shape.cache_type {
                CacheType::F32 => self.run_keys::<S, F32>(part),
                CacheType::F16 => self.run_keys::<S, F16>(part),
                CacheType::Bf16 => self.run_keys::<S, Bf16>(part),
            }
        }
    }

    #[inline(always)]
    unsafe fn run_keys<S: Simd16, E: Element>(&self, part: usize) {
        let (first, end) = (part * PART, self.seen(self.unit.rows - 1).min((part + 1) * PART));
        // SAFETY: the caller's promises; a tile is filled before it is used.
        unsafe {
            if self.matrix_unit().is_none() && self.unit.rows < TILE_ROWS {
                return self.run_rows::<S, E>(first..end, |key| self.step_keys::<E>(key));
            }
            for key in (first..end).step_by(STEP) {
                let (keys, count) = (self.step_keys::<E>(key), (end - key).min(STEP));
                if let Some(code) = self.matrix_unit() {
                    let tiles = (self.areas.k.cast(), self.areas.v.cast());
                    fill::<S, E>(&keys, (self.state.dims, count), tiles);
                    (code.attend)(&WideStep {
                        rows: self.unit.rows,
                        seen: self.areas.seen,
                        first_key: key,
                        state: self.state,
                        keys: self.areas.k.cast_const().cast(),
                        values: self.areas.v.cast_const().cast(),
                    });
                } else {
                    let tile = self.fill_tile::<S, E>(&keys, count);
                    self.run_rows::<S, Tile>(key..key + count, |_| tile);
                }
            }
        }
    }

    /// Where the keys from `key` on lie, and those of the step after it; after the last key that a row
    /// sees comes the next unit's first step.
    #[inline(always)]
    unsafe fn step_keys<E: Element>(&self, key: usize) -> StepKeys<E::Bits> {
        let shape = &self.call.pages.shape;
        let (unit, ahead) = match self.next {
            Some(next) if key + STEP >= self.seen(self.unit.rows - 1) => (next, next.first_key()),
            _ => (self.unit, key + STEP),
        };
        // SAFETY: the caller's promises.
        let (here, there) = unsafe { (self.places::<E>(self.unit, key), self.places::<E>(unit, ahead)) };
        StepKeys {
            k: here.map(|pair| pair.0),
            v: here.map(|pair| pair.1),
            k_ahead: there.map(|pair| pair.0),
            v_ahead: there.map(|pair| pair.1),
            k_stride: shape.block_size,
            v_stride: shape.width(),
        }
    }

    /// Where a unit's keys from `key` on, the first of a step, and their values lie, 16 after 16; beyond the sequence's
    /// last block the last one is repeated.
    #[inline(always)]
    unsafe fn places<E: Element>(&self, unit: &Unit, key: usize) -> Places<E> {
        let shape = &self.call.pages.shape;
        let table = self.call.block_tables[unit.run.sequence];
        let last = (unit.run.keys() - 1) >> shape.block_size.trailing_zeros();
        let mut places = [(std::ptr::null(), std::ptr::null()); STEP / LANES];
        // Blocks have 16, 32 or 64 keys.
        for (i, places) in places.chunks_mut(shape.block_size / LANES).enumerate() {
            let block = (key >> shape.block_size.trailing_zeros()) + i;
            // SAFETY: the call's block tables name blocks of the cache; the offsets stay in the page.
            unsafe {
                let (keys, values) = self.call.pages.pages(table[block.min(last)], unit.kv_head);
                let (keys, values) = (keys.cast::<E::Bits>(), values.cast::<E::Bits>());
                for (j, place) in places.iter_mut().enumerate() {
                    let offset = j * LANES;
                    *place = (keys.add(offset).cast_const(), values.add(offset * shape.width()).cast_const());
                }
            }
        }
        places
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

    /// Takes all rows over some keys, a few at a time; `at` says where those of a step lie.
    #[inline(always)]
    unsafe fn run_rows<S: Simd16, E: Element>(
        &self,
        keys: Range<usize>,
        at: impl Fn(usize) -> StepKeys<E::Bits> + Copy,
    ) {
        let mut row = 0;
        while row < self.unit.rows {
            let keys = keys.clone();
            // SAFETY: that many rows are left in the unit.
            row += unsafe {
                match rows_taken(self.unit.rows - row) {
                    1 => self.run_few::<S, E, 1>(row, keys, at),
                    2 => self.run_few::<S, E, 2>(row, keys, at),
                    3 => self.run_few::<S, E, 3>(row, keys, at),
                    4 => self.run_few::<S, E, 4>(row, keys, at),
                    _ => self.run_few::<S, E, 6>(row, keys, at),
                }
            };
        }
    }

    #[inline(always)]
    unsafe fn run_few<S: Simd16, E: Element, const M: usize>(
        &self,
        row: usize,
        keys: Range<usize>,
        at: impl Fn(usize) -> StepKeys<E::Bits>,
    ) -> usize {
        let count = self.seen(row + M - 1).min(keys.end).saturating_sub(keys.start).div_ceil(STEP);
        let step = |i| {
            let key = keys.start + i * STEP;
            let counts = std::array::from_fn(|r| self.seen(row + r).saturating_sub(key).min(STEP));
            Step { counts, keys: at(key) }
        };
        // SAFETY: the caller's promises, and `S` is the running instruction set.
        unsafe { S::call(Steps::<_, E, M> { rows: self.state.from(row), count, step, marker: PhantomData }) };
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

/// `steps` as a function of its own, so that the code exists once for each element type and row count.
struct Steps<F, E: Element, const M: usize> {
    rows: RowState,
    count: usize,
    step: F,
    marker: PhantomData<E>,
}

impl<F: Fn(usize) -> Step<E::Bits, M>, E: Element, const M: usize> Kernel for Steps<F, E, M> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        // SAFETY: whoever makes the kernel answers for the conditions of `steps`.
        unsafe { steps::<S, E, M>(self.rows, self.count, self.step) }
    }
}
