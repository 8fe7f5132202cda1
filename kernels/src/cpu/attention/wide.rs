//! Steps of prompt rows on a matrix unit: 16 rows against 64 keys, with two bf16 a number, h and l (`wide_tiles`).
//!
//! The contract, where it differs from `step`: a product of rows a and columns b is, in the order of the unit and
//! for 32 numbers after 32 of them, l and h of b with h of a, then h of b with l of a; l with l is left out. The
//! output is fma(output, 2^(old maximum - new), values of the step).

use super::step::{RowState, STEP};
use super::weigh::mask_and_top;
use super::wide_tiles::{pair, query_tiles};
use crate::cpu::exp::exp2_negative;
use crate::cpu::linear::matrix_unit::MatrixUnit;
use crate::cpu::simd::{Kernel, LANES, Simd16};
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// Rows of a tile.
pub(super) const ROWS: usize = 16;
/// Numbers of a tile's row.
pub(super) const DEPTH: usize = 32;
pub(super) const TILE: usize = 1024;
/// Of keys, in a step.
pub(super) const KEY_TILES: usize = STEP / LANES;
/// Tiles of columns whose sums are in registers at once.
const TILES_MAX: usize = 4;

/// Steps of 32 dimensions.
pub(super) const fn depth_steps(dims: usize) -> usize {
    dims.div_ceil(DEPTH)
}

/// What a step reads and writes.
#[derive(Clone, Copy)]
pub(crate) struct WideStep {
    /// Of them, the first sees the fewest keys.
    pub(super) rows: usize,
    /// Keys that each row sees in all, and where the step's begin.
    pub(super) seen: *const u32,
    pub(super) first_key: usize,
    /// `q` has the tiles of each group of 16 rows: high and low of 32 dimensions after another.
    pub(super) state: RowState,
    /// Tiles: of 32 dimensions after another, of 16 keys after another, high and low.
    pub(super) keys: *const u8,
    /// Tiles: of 32 keys after another, of 16 dimensions after another, high and low.
    pub(super) values: *const u8,
}

/// # Safety
/// To call: `state` has the rows; the tiles are filled for its dimensions. The unit is configured.
pub(crate) type WideStepFunction = unsafe fn(&WideStep);

/// # Safety
/// As `WideStepFunction`; the processor has `S` and `U`, and the system lets this process use the unit.
pub(crate) unsafe fn wide_step<S: Simd16, U: MatrixUnit>(step: &WideStep) {
    // SAFETY: the caller's promise.
    unsafe { S::call(StepKernel::<U>(step, PhantomData)) }
}

struct StepKernel<'a, U>(&'a WideStep, PhantomData<U>);

/// Of 16 keys after another.
type Scores = [[[f32; LANES]; ROWS]; KEY_TILES];

/// Tiles: of 32 keys after another, high and low.
type Weights = [[[u8; TILE]; 2]; STEP / DEPTH];

/// One a row.
#[repr(align(64))]
struct Floats([f32; ROWS]);

#[repr(C, align(64))]
struct Memory {
    scores: Scores,
    weights: Weights,
    /// Of 16 dimensions after another.
    values: [[[f32; LANES]; ROWS]; TILES_MAX],
}

// Whoever makes the kernel keeps the promises of `wide_step`.
impl<U: MatrixUnit> Kernel for StepKernel<'_, U> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        // SAFETY: see above; all of the memory is written before it is read.
        unsafe {
            let step = self.0;
            let mut memory = MaybeUninit::<Memory>::uninit();
            let memory = memory.as_mut_ptr();
            let mut unit = U::registers();
            for group in 0..step.rows.div_ceil(ROWS) {
                if step.count((group + 1) * ROWS - 1) > 0 {
                    step.scores(&mut unit, group, (&raw mut (*memory).scores).cast());
                    step.finish::<S, U>(&mut unit, group, memory);
                }
            }
        }
    }
}

// SAFETY, for all functions: as in `StepKernel::run`.
impl WideStep {
    /// Keys of the step that a row sees; beyond the last row, as many as that one.
    #[inline(always)]
    unsafe fn count(&self, row: usize) -> usize {
        unsafe { (*self.seen.add(row.min(self.rows - 1)) as usize).saturating_sub(self.first_key).min(STEP) }
    }

    #[inline(always)]
    unsafe fn scores(&self, unit: &mut impl MatrixUnit, group: usize, to: *mut u8) {
        unsafe {
            const { assert!(KEY_TILES == TILES_MAX) }
            let queries = query_tiles(self.state.q, group * ROWS);
            let steps = (depth_steps(self.state.dims), KEY_TILES);
            multiply(unit, (queries, self.keys), steps, (KEY_TILES, to));
        }
    }

    /// From scores to outputs.
    #[inline(always)]
    unsafe fn finish<S: Simd16, U: MatrixUnit>(&self, unit: &mut U, group: usize, memory: *mut Memory) {
        unsafe {
            let first = group * ROWS;
            let state = self.state.from(first);
            let shrink = self.soften::<S>(first, &mut (*memory).scores, &raw mut (*memory).weights);
            let steps = depth_steps(state.dims);
            for first_tile in (0..2 * steps).step_by(TILES_MAX) {
                let weights = (&raw const (*memory).weights).cast();
                let values = self.values.add(first_tile * 2 * TILE);
                let to = (&raw mut (*memory).values).cast();
                let (tiles, left) = (2 * steps, 2 * steps - first_tile);
                let count = multiply(unit, (weights, values), (STEP / DEPTH, tiles), (left, to));
                for (row, &shrink) in shrink.0[..ROWS.min(self.rows - first)].iter().enumerate() {
                    let shrink = S::splat(shrink);
                    for tile in 0..count {
                        let d = (first_tile + tile) * LANES;
                        if d < state.width {
                            let o = state.o.add(row * state.width + d);
                            let value = S::load((&raw const (*memory).values[tile][row]).cast());
                            S::store(o, S::fma(S::load(o), shrink, value));
                        }
                    }
                }
            }
        }
    }

    /// Turns scores into weights, updates the maxima and sums of the rows and returns by what their outputs shrink.
    /// The same numbers as in `step`; the maxima come first, so that one exponential serves the shrinking of all rows.
    #[inline(always)]
    unsafe fn soften<S: Simd16>(&self, first: usize, scores: &mut Scores, weights: *mut Weights) -> Floats {
        unsafe {
            let state = self.state.from(first);
            let (mut old, mut new) = (Floats([0.0; ROWS]), Floats([0.0; ROWS]));
            for row in first..self.rows.min(first + ROWS) {
                let (count, row) = (self.count(row), row - first);
                if count > 0 {
                    let p = scores.as_mut_ptr().cast::<f32>().add(row * LANES);
                    let top = mask_and_top::<S>(p, ROWS * LANES, count);
                    let max = state.max.add(row);
                    old.0[row] = *max;
                    new.0[row] = if top > *max { top } else { *max };
                    *max = new.0[row];
                }
            }
            let mut shrink = Floats([0.0; ROWS]);
            let less = S::sub(S::load(old.0.as_ptr()), S::load(new.0.as_ptr()));
            S::store(shrink.0.as_mut_ptr(), exp2_negative::<S>(less));
            for row in 0..ROWS {
                let is_seen = first + row < self.rows && self.count(first + row) > 0;
                let mut e = [S::zero(); KEY_TILES];
                if is_seen {
                    let sum = state.sum.add(row * LANES);
                    let mut total = S::mul(S::load(sum), S::splat(shrink.0[row]));
                    for (e, scores) in e.iter_mut().zip(scores.iter()) {
                        let score = S::load(scores[row].as_ptr());
                        *e = exp2_negative::<S>(S::sub(score, S::splat(new.0[row])));
                        total = S::add(total, *e);
                    }
                    S::store(sum, total);
                }
                for (step, e) in e.as_chunks::<2>().0.iter().enumerate() {
                    let (high, low) = pair::<S>(e[0], e[1]);
                    S::store_i((&raw mut (*weights)[step][0][row * 64]).cast(), high);
                    S::store_i((&raw mut (*weights)[step][1][row * 64]).cast(), low);
                }
            }
            shrink
        }
    }
}

/// Stores products of rows `a` with the next tiles of columns, of which each of `steps` steps has `tiles`: four, or the two that
/// are left. Returns how many.
#[inline(always)]
unsafe fn multiply(
    unit: &mut impl MatrixUnit,
    (a, b): (*const u8, *const u8),
    (steps, tiles): (usize, usize),
    (left, to): (usize, *mut u8),
) -> usize {
    // SAFETY: the callers' promises.
    unsafe {
        if left < TILES_MAX {
            sum_two(unit, (a, b), (steps, tiles));
            unit.store::<0>(to);
            unit.store::<1>(to.add(TILE));
            return 2;
        }
        sum_four(unit, (a, b), (steps, tiles));
        unit.store_sums(to);
        TILES_MAX
    }
}

/// Sums in registers 0 and 1.
#[inline(always)]
unsafe fn sum_two(
    unit: &mut impl MatrixUnit,
    (mut a, mut b): (*const u8, *const u8),
    (steps, tiles): (usize, usize),
) {
    // SAFETY: the callers' promises.
    unsafe {
        unit.zero::<0>();
        unit.zero::<1>();
        for _ in 0..steps {
            unit.load::<2>(a);
            unit.load::<5>(b.add(TILE));
            unit.dot_bf16::<0, 2, 5>();
            unit.load::<7>(b.add(3 * TILE));
            unit.dot_bf16::<1, 2, 7>();
            unit.load::<4>(b);
            unit.dot_bf16::<0, 2, 4>();
            unit.load::<6>(b.add(2 * TILE));
            unit.dot_bf16::<1, 2, 6>();
            unit.load::<3>(a.add(TILE));
            unit.dot_bf16::<0, 3, 4>();
            unit.dot_bf16::<1, 3, 6>();
            a = a.add(2 * TILE);
            b = b.add(2 * tiles * TILE);
        }
    }
}

/// Sums in registers 0 to 3: enough that none waits for its last product.
#[inline(always)]
unsafe fn sum_four(
    unit: &mut impl MatrixUnit,
    (mut a, mut b): (*const u8, *const u8),
    (steps, tiles): (usize, usize),
) {
    // SAFETY: the callers' promises.
    unsafe {
        unit.zero_sums();
        for _ in 0..steps {
            let (high, low) =
                (|tile: usize| b.add(2 * tile * TILE), |tile: usize| b.add((2 * tile + 1) * TILE));
            unit.load::<4>(a);
            unit.load::<5>(low(0));
            unit.dot_bf16::<0, 4, 5>();
            unit.load::<6>(low(1));
            unit.dot_bf16::<1, 4, 6>();
            unit.load::<7>(low(2));
            unit.dot_bf16::<2, 4, 7>();
            unit.load::<5>(low(3));
            unit.dot_bf16::<3, 4, 5>();
            unit.load::<6>(high(0));
            unit.dot_bf16::<0, 4, 6>();
            unit.load::<7>(high(1));
            unit.dot_bf16::<1, 4, 7>();
            unit.load::<5>(high(2));
            unit.dot_bf16::<2, 4, 5>();
            unit.load::<6>(high(3));
            unit.dot_bf16::<3, 4, 6>();
            unit.load::<4>(a.add(TILE));
            unit.dot_bf16::<1, 4, 7>();
            unit.load::<7>(high(0));
            unit.dot_bf16::<0, 4, 7>();
            unit.dot_bf16::<2, 4, 5>();
            unit.dot_bf16::<3, 4, 6>();
            a = a.add(2 * TILE);
            b = b.add(2 * tiles * TILE);
        }
    }
}
