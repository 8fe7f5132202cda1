//! A tile of estimates: one panel of a block-wise type times activations of 8 bits. See `estimate`.
#![allow(clippy::needless_range_loop)] // the loops run over several arrays, and must unroll

use super::block_tile::{by_block_type, format_of, four, quants, scales};
use super::estimate::EstimateBlock;
use super::tile::{Results, Strided};
use crate::cpu::ahead::Stretch;
use crate::cpu::block::{BlockFormat, WeightType, Zero};
use crate::cpu::digits::BLOCK;
use crate::cpu::pack::PANEL_ROWS;
use crate::cpu::simd::{Kernel, LANES, Simd16};

/// What a tile reads and writes.
pub(super) struct EstimateCall {
    pub(super) panel: *const u8,
    pub(super) columns: usize,
    /// Of the panel: at most 32.
    pub(super) outputs: usize,
    pub(super) rows: Strided<EstimateBlock>,
    /// Fetched by the way.
    pub(super) ahead: Stretch,
    /// Of each row the largest estimate.
    pub(super) largest: *mut f32,
}

/// The code of a tile.
///
/// # Safety
/// To call: the panel has 32 rows of `columns` weights of the tile's type, `rows` the tile's rows of `columns`
/// activations, `largest` room for one float a row.
pub(super) type EstimateFunction = unsafe fn(&EstimateCall);

/// Rows of the next tile when `left` are left, as the registers hold.
#[inline(always)]
pub(super) const fn estimate_rows<S: Simd16>(left: usize) -> usize {
    if S::REGISTERS >= 32 && left >= 4 { 4 } else { 1 }
}

/// The code for a block-wise weight type and so many rows.
pub(super) fn estimate_function<S: Simd16>(weight_type: WeightType, rows: usize) -> EstimateFunction {
    by_block_type!(weight_type, function::<S>)(rows)
}

fn function<S: Simd16, const TYPE: u32>(rows: usize) -> EstimateFunction {
    if S::REGISTERS >= 32 && rows == 4 { tile::<S, TYPE, 4> } else { tile::<S, TYPE, 1> }
}

unsafe fn tile<S: Simd16, const TYPE: u32, const M: usize>(call: &EstimateCall) {
    // SAFETY: `EstimateFunction` says what the caller promises; whoever asks for the function has `S`.
    unsafe { S::call(EstimateTile::<TYPE, M>(call)) }
}

/// `M` rows times a panel of the type whose ggml id is `TYPE`.
struct EstimateTile<'a, const TYPE: u32, const M: usize>(&'a EstimateCall);

// Whoever makes the tile keeps the promises of `EstimateFunction`.
impl<const TYPE: u32, const M: usize> Kernel for EstimateTile<'_, TYPE, M> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        // SAFETY: see above; the instruction set is the caller's promise.
        unsafe {
            let format = Self::FORMAT;
            let call = self.0;
            let blocks = call.columns / BLOCK;
            let lines = call.ahead.lines.div_ceil(blocks);
            let mut y = [[S::zero(); 2]; M];
            for block in 0..blocks {
                for line in block * lines..call.ahead.lines.min((block + 1) * lines) {
                    S::prefetch(call.ahead.start.wrapping_add(line * 64));
                }
                let at = format.sub_block(call.panel, block);
                for group in 0..format.groups {
                    self.add_group::<S>(at, (block, group), &mut y);
                }
            }
            for m in 0..M {
                *call.largest.add(m) = largest::<S>(y[m], call.outputs);
            }
        }
    }
}

impl<const TYPE: u32, const M: usize> EstimateTile<'_, TYPE, M> {
    const FORMAT: BlockFormat = format_of(TYPE);

    /// The products of one group of columns.
    #[inline(always)]
    unsafe fn add_group<S: Simd16>(
        &self,
        (sub, head): (*const u8, *const u8),
        (block, group): (usize, usize),
        y: &mut Results<S, M>,
    ) {
        // SAFETY: as in `run`.
        unsafe {
            let format = Self::FORMAT;
            let which = if format.groups == 1 { 0 } else { 1 + group };
            let mut sums = [[S::zero_i(); 2]; M];
            if let Zero::Offset { shift } = format.zero {
                for m in 0..M {
                    let start = (*self.0.rows.row(m).add(block)).negative[which] << shift;
                    sums[m] = [S::splat_i(start); 2];
                }
            }
            if format.groups == 1 || group == 0 {
                self.add_step::<S, 0>(sub, block, &mut sums);
                self.add_step::<S, 1>(sub, block, &mut sums);
                self.add_step::<S, 2>(sub, block, &mut sums);
                self.add_step::<S, 3>(sub, block, &mut sums);
            }
            if format.groups == 1 || group == 1 {
                self.add_step::<S, 4>(sub, block, &mut sums);
                self.add_step::<S, 5>(sub, block, &mut sums);
                self.add_step::<S, 6>(sub, block, &mut sums);
                self.add_step::<S, 7>(sub, block, &mut sums);
            }
            for half in 0..2 {
                let (d, minimum) = scales::<S>(format, (sub, head), (group, half));
                for m in 0..M {
                    let x = self.0.rows.row(m).add(block);
                    let scale = S::mul(d, S::splat((*x).scale));
                    y[m][half] = S::fma(S::to_f(sums[m][half]), scale, y[m][half]);
                    if format.has_minimum() {
                        y[m][half] = S::fma(minimum, S::splat((*x).sums[which]), y[m][half]);
                    }
                }
            }
        }
    }

    /// Four columns of all rows.
    #[inline(always)]
    unsafe fn add_step<S: Simd16, const STEP: usize>(
        &self,
        sub: *const u8,
        block: usize,
        sums: &mut [[S::I; 2]; M],
    ) {
        // SAFETY: as in `run`.
        unsafe {
            let format = Self::FORMAT;
            let mut w = [S::zero_i(); 2];
            for half in 0..2 {
                w[half] = quants::<S>(format, sub.add(half * format.half_bytes()), STEP);
            }
            for m in 0..M {
                let x = four(&(*self.0.rows.row(m).add(block)).digits, STEP);
                for half in 0..2 {
                    let sum = &mut sums[m][half];
                    *sum = if format.bits < 8 {
                        S::dot_narrow(*sum, w[half], x)
                    } else {
                        S::dot(*sum, w[half], x)
                    };
                }
            }
        }
    }
}

/// Of the first `outputs` lanes.
#[inline(always)]
unsafe fn largest<S: Simd16>([first, second]: [S::F; 2], outputs: usize) -> f32 {
    // SAFETY: the instruction set is the caller's promise.
    unsafe {
        let none = S::splat(f32::NEG_INFINITY);
        if outputs == PANEL_ROWS {
            return S::reduce_max(S::max(first, second));
        }
        let second = S::first_lanes(outputs.saturating_sub(LANES), second, none);
        S::reduce_max(S::max(S::first_lanes(outputs.min(LANES), first, none), second))
    }
}
