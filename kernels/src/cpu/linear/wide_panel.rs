//! A panel's weights of one segment as digits of 16-bit integers, in the tiles that a matrix unit multiplies:
//! made once for all rows of a call.

use std::ops::Range;

use super::block_tile::{by_block_type, format_of, quants, scales};
use super::wide::{SEGMENT_STEPS, STEP, TILE_BYTES};
use crate::cpu::block::{BlockFormat, WeightType, Zero};
use crate::cpu::digits::{BLOCK, LARGEST, TINY};
use crate::cpu::simd::{Kernel, LANES, Simd16};

/// Bytes that the weight stream is fetched ahead: about the next panel, while the rows pass.
const AHEAD: usize = 16 << 10;

/// Lines of 16 outputs x 4 columns of a block.
const LINES: usize = BLOCK / 4;

/// 16 lines of 16 outputs x 4 columns.
pub(super) type Tile = [u8; TILE_BYTES];

#[repr(C, align(64))]
pub(super) struct WidePanel {
    /// Of a step: w1 and w0 of the first 16 outputs, then of the others.
    pub(super) tiles: [[Tile; 4]; SEGMENT_STEPS],
    /// 256 times the outputs' scales.
    pub(super) scales: [[f32; LANES]; 2],
}

/// Makes the tiles of a segment's blocks of 32 columns.
///
/// # Safety
/// To call: the panel has the blocks, whole ones of the function's type, and they are at most a segment.
pub(super) type ExpandFunction = unsafe fn(*const u8, Range<usize>, *mut WidePanel);

/// The code for a block-wise weight type.
///
/// # Safety
/// The processor has the instruction set of `S`.
pub(super) unsafe fn expand<S: Simd16>(weight_type: WeightType) -> ExpandFunction {
    by_block_type!(weight_type, expand_type::<S>)
}

unsafe fn expand_type<S: Simd16, const TYPE: u32>(
    panel: *const u8,
    blocks: Range<usize>,
    out: *mut WidePanel,
) {
    // SAFETY: `ExpandFunction` and `expand` say what the caller promises.
    unsafe { S::call(Expand::<TYPE> { panel, blocks, out }) }
}

struct Expand<const TYPE: u32> {
    panel: *const u8,
    blocks: Range<usize>,
    out: *mut WidePanel,
}

// Whoever makes it keeps the promises of `ExpandFunction`.
impl<const TYPE: u32> Kernel for Expand<TYPE> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        // SAFETY: see above; the instruction set is the caller's promise.
        unsafe {
            for half in 0..2 {
                let size = S::max(self.size::<S>(half), S::splat(TINY));
                S::store((&raw mut (*self.out).scales[half]).cast(), S::mul(size, S::splat(256.0 / LARGEST)));
                self.fill::<S>(half, S::div(S::splat(LARGEST), size));
            }
            if !self.blocks.len().is_multiple_of(STEP / BLOCK) {
                for tile in 0..4 {
                    let last = &raw mut (*self.out).tiles[self.blocks.len() * BLOCK / STEP][tile];
                    for line in LINES..2 * LINES {
                        S::store_i(last.cast::<u8>().add(line * 64), S::zero_i());
                    }
                }
            }
        }
    }
}

// SAFETY, for all functions: as in `run`.
impl<const TYPE: u32> Expand<TYPE> {
    const FORMAT: BlockFormat = format_of(TYPE);

    /// A bound of each output's weights: the largest of what its groups' quants can be.
    #[inline(always)]
    unsafe fn size<S: Simd16>(&self, half: usize) -> S::F {
        let format = Self::FORMAT;
        unsafe {
            let mut size = S::zero();
            for block in self.blocks.clone() {
                for group in 0..format.groups {
                    let (d, m) = scales::<S>(format, format.sub_block(self.panel, block), (group, half));
                    size = match format.zero {
                        Zero::Offset { shift } => {
                            S::max(size, magnitude::<S>(S::mul(d, S::splat((1 << shift) as f32))))
                        }
                        Zero::Minimum => {
                            let most = S::splat(((1 << format.bits) - 1) as f32);
                            let ends = S::max(magnitude::<S>(m), magnitude::<S>(S::fma(most, d, m)));
                            S::max(size, ends)
                        }
                    };
                }
            }
            size
        }
    }

    #[inline(always)]
    unsafe fn fill<S: Simd16>(&self, half: usize, inverse: S::F) {
        let format = Self::FORMAT;
        unsafe {
            for (i, block) in self.blocks.clone().enumerate() {
                let (sub, head) = format.sub_block(self.panel, block);
                for line in 0..format.half_bytes().div_ceil(64) {
                    S::prefetch(sub.wrapping_add(half * format.half_bytes() + AHEAD + line * 64));
                }
                let tiles = (&raw mut (*self.out).tiles[i * BLOCK / STEP][2 * half]).cast::<u8>();
                let out = tiles.add(i % (STEP / BLOCK) * LINES * 64);
                for group in 0..format.groups {
                    let (d, m) = scales::<S>(format, (sub, head), (group, half));
                    let d = S::mul(d, inverse);
                    // 128 more, for `digits`.
                    let m = match format.zero {
                        Zero::Minimum => S::fma(m, inverse, S::splat(128.0)),
                        Zero::Offset { shift } => {
                            S::fma(d, S::splat(-((1 << shift) as f32)), S::splat(128.0))
                        }
                    };
                    for line in 0..LINES / format.groups {
                        let line = group * LINES / format.groups + line;
                        let q = quants::<S>(format, sub.add(half * format.half_bytes()), line);
                        let (high, low) = digits::<S>(q, d, m);
                        S::store_i(out.add(line * 64), high);
                        S::store_i(out.add(TILE_BYTES + line * 64), low);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn magnitude<S: Simd16>(x: S::F) -> S::F {
    // SAFETY: the instruction set is the caller's promise.
    unsafe { S::from_bits(S::and_i(S::bits(x), S::splat_i(i32::MAX))) }
}

/// The digits of W = d q + m - 128 for the four quants of each lane. W + 128 has w1 in its second byte, and in its
/// first w0 + 128.
#[inline(always)]
unsafe fn digits<S: Simd16>(q: S::I, d: S::F, m: S::F) -> (S::I, S::I) {
    // SAFETY: the instruction set is the caller's promise.
    unsafe {
        let byte = S::splat_i(0xFF);
        let first = shifted::<S>(S::and_i(q, byte), d, m);
        let second = shifted::<S>(S::and_i(S::shr_i(q, 8), byte), d, m);
        let third = shifted::<S>(S::and_i(S::shr_i(q, 16), byte), d, m);
        let fourth = shifted::<S>(S::shr_i(q, 24), d, m);
        let word = S::splat_i(0xFFFF);
        let even = S::or_i(S::and_i(first, word), S::shl_i(third, 16));
        let odd = S::or_i(S::and_i(second, word), S::shl_i(fourth, 16));
        let (low_bytes, high_bytes) = (S::splat_i(0x00FF_00FF), S::splat_i(0xFF00_FF00_u32 as i32));
        let high = S::or_i(S::and_i(S::shr_i(even, 8), low_bytes), S::and_i(odd, high_bytes));
        let low = S::or_i(S::and_i(even, low_bytes), S::and_i(S::shl_i(odd, 8), high_bytes));
        (high, S::add_bytes(low, S::splat_i(0x8080_8080_u32 as i32)))
    }
}

#[inline(always)]
unsafe fn shifted<S: Simd16>(q: S::I, d: S::F, m: S::F) -> S::I {
    // SAFETY: the instruction set is the caller's promise.
    unsafe { S::to_i(S::fma(S::to_f(q), d, m)) }
}
