//! A tile of a block-wise type: the weights are unpacked once for all rows.
#![allow(clippy::needless_range_loop)] // the loops run over several arrays, and must unroll

use super::tile::{AHEAD, Results, TileCall};
use crate::cpu::ahead::BLOCK_LINES;
use crate::cpu::block::{BlockFormat, WeightType, Zero};
use crate::cpu::digits::{BLOCK, SCALE_BLOCKS};
use crate::cpu::pack::PANEL_ROWS;
use crate::cpu::pack::layout::Plane;
use crate::cpu::simd::{Kernel, LANES, Simd16};

/// `M` rows times a panel of a block-wise type, whose ggml id is `TYPE`; `BYTES`: its quants are unpacked.
pub(super) struct BlockTile<'a, const TYPE: u32, const BYTES: bool, const M: usize>(pub(super) &'a TileCall);

impl<const TYPE: u32, const BYTES: bool, const M: usize> BlockTile<'_, TYPE, BYTES, M> {
    const FORMAT: BlockFormat = if BYTES { format_of(TYPE).expanded() } else { format_of(TYPE) };
    /// Quants are below 128.
    const IS_NARROW: bool = format_of(TYPE).bits < 8;
}

pub(super) const fn format_of(id: u32) -> BlockFormat {
    let mut i = 0;
    while i < WeightType::ALL.len() {
        if WeightType::ALL[i].ggml_id() == id
            && let Some(format) = BlockFormat::of(WeightType::ALL[i])
        {
            return format;
        }
        i += 1;
    }
    panic!("not a block-wise type");
}

/// Integer sums of `M` rows, two halves of a panel, two digits.
type Sums<S, const M: usize> = [[[<S as Simd16>::I; 2]; 2]; M];

// Whoever makes the tile keeps the promises of `TileFunction`.
impl<const TYPE: u32, const BYTES: bool, const M: usize> Kernel for BlockTile<'_, TYPE, BYTES, M> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        // SAFETY: see above; the instruction set is the caller's promise.
        unsafe {
            let format = Self::FORMAT;
            let call = self.0;
            if !call.resumes {
                for m in 0..M {
                    for half in 0..2 {
                        S::store(call.out.add(m * PANEL_ROWS + half * LANES), S::zero());
                    }
                }
            }
            let blocks = call.columns / BLOCK;
            let mut y = [[S::zero(); 2]; M];
            let mut at = call.panel;
            let mut block = 0;
            while block < blocks {
                let head = at.add(format.head_at());
                for _ in 0..format.subs {
                    for line in 0..if BYTES { 0 } else { format.sub_bytes().div_ceil(64) } {
                        S::prefetch(at.wrapping_add(AHEAD + line * 64));
                    }
                    self.fetch_ahead::<S>(block);
                    for group in 0..format.groups {
                        self.add_group::<S>((at, head), (block, group), &mut y);
                    }
                    at = at.add(format.sub_bytes());
                    block += 1;
                    if block.is_multiple_of(SCALE_BLOCKS) || block == blocks {
                        self.scale_sums::<S>(block - 1, &mut y);
                    }
                }
                for line in 0..(format.panel_block_bytes() - format.head_at()) / 64 {
                    S::prefetch(at.wrapping_add(AHEAD + line * 64));
                }
                at = at.add(format.panel_block_bytes() - format.head_at());
            }
        }
    }
}

impl<const TYPE: u32, const BYTES: bool, const M: usize> BlockTile<'_, TYPE, BYTES, M> {
    /// A block's share of what the call has to be fetched.
    #[inline(always)]
    unsafe fn fetch_ahead<S: Simd16>(&self, block: usize) {
        let ahead = self.0.ahead;
        let first = block * BLOCK_LINES;
        if first < ahead.lines {
            for line in first..first + BLOCK_LINES {
                // SAFETY: a prefetch never faults.
                unsafe { S::prefetch(ahead.start.wrapping_add(line * 64)) };
            }
        }
    }

    /// One group of columns: exact sums, then the float steps of the contract.
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
            let mut sums: Sums<S, M> = [[[S::zero_i(); 2]; 2]; M];
            if let Zero::Offset { shift } = format.zero {
                for m in 0..M {
                    let start =
                        S::shl_i(S::splat_i((*self.0.digits.row(m).add(block)).negative[which]), shift);
                    sums[m][0][1] = start;
                    sums[m][1][1] = start;
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
                    let x = self.0.digits.row(m).add(block);
                    let [hi, lo] = sums[m][half];
                    let whole = S::to_f(S::add_i(S::shl_i(hi, 8), lo));
                    y[m][half] = S::fma(whole, d, y[m][half]);
                    if format.has_minimum() {
                        y[m][half] = S::fma(minimum, S::splat((*x).sums[which]), y[m][half]);
                    }
                }
            }
        }
    }

    /// Adds the sums of the columns that share the scale of `block` to the results, and starts them anew.
    #[inline(always)]
    unsafe fn scale_sums<S: Simd16>(&self, block: usize, y: &mut Results<S, M>) {
        // SAFETY: as in `run`.
        unsafe {
            for m in 0..M {
                let scale = S::splat((*self.0.digits.row(m).add(block)).scale);
                for half in 0..2 {
                    let out = self.0.out.add(m * PANEL_ROWS + half * LANES);
                    S::store(out, S::fma(y[m][half], scale, S::load(out)));
                    y[m][half] = S::zero();
                }
            }
        }
    }

    /// Four columns of all rows: the step's weights, unpacked, times the digits.
    #[inline(always)]
    unsafe fn add_step<S: Simd16, const STEP: usize>(
        &self,
        sub: *const u8,
        block: usize,
        sums: &mut Sums<S, M>,
    ) {
        // SAFETY: as in `run`.
        unsafe {
            let format = Self::FORMAT;
            let w = [quants::<S>(format, sub, STEP), quants::<S>(format, sub.add(format.half_bytes()), STEP)];
            for m in 0..M {
                let x = self.0.digits.row(m).add(block);
                for digit in 0..2 {
                    let a = (&raw const (*x).digits[digit][STEP * 4]).cast::<i32>().read();
                    for half in 0..2 {
                        let sum = sums[m][half][digit];
                        sums[m][half][digit] = if Self::IS_NARROW {
                            S::dot_narrow(sum, w[half], a)
                        } else {
                            S::dot(sum, w[half], a)
                        };
                    }
                }
            }
        }
    }
}

/// d and m of a group for 16 rows; m is 0 for formats without.
#[inline(always)]
pub(super) unsafe fn scales<S: Simd16>(
    format: BlockFormat,
    (sub, head): (*const u8, *const u8),
    (group, half): (usize, usize),
) -> (S::F, S::F) {
    // SAFETY: as in `BlockTile::run`.
    unsafe {
        let d = S::load_f16(head.add(half * 32).cast());
        let m = if format.has_minimum() { S::load_f16(head.add(64 + half * 32).cast()) } else { S::zero() };
        if format.subs == 1 {
            return (d, m);
        }
        let at = group * PANEL_ROWS + half * LANES;
        let d = S::mul(d, S::to_f(S::load_i8(sub.add(format.scales_at() + at).cast())));
        if !format.has_minimum() {
            return (d, m);
        }
        let minima = S::to_f(S::load_u8(sub.add(format.minima_at() + at)));
        (d, S::mul(S::sub(S::zero(), m), minima))
    }
}

/// The quants of 16 rows and the four columns of a step, a byte each.
#[inline(always)]
pub(super) unsafe fn quants<S: Simd16>(format: BlockFormat, half: *const u8, step: usize) -> S::I {
    // SAFETY: as in `BlockTile::run`.
    unsafe {
        let [low, high] = format.planes();
        let q = plane_bits::<S>(low, half, step);
        if high.width == 0 {
            return q;
        }
        S::or_i(q, plane_bits::<S>(high, half.add(low.width * 64), step))
    }
}

/// A plane's bits of a step, at their place in the quants.
#[inline(always)]
unsafe fn plane_bits<S: Simd16>(plane: Plane, lines: *const u8, step: usize) -> S::I {
    // SAFETY: as in `BlockTile::run`.
    unsafe {
        let (line, shift) = plane.place(step);
        let bits = S::load_i(lines.add(line * 64));
        if plane.width == 8 {
            return bits;
        }
        let moved = if shift > plane.position {
            S::shr_i(bits, (shift - plane.position) as u32)
        } else if shift < plane.position {
            S::shl_i(bits, (plane.position - shift) as u32)
        } else {
            bits
        };
        S::and_i(moved, S::splat_i((plane.mask() << plane.position) as i32))
    }
}
