//! A tile of quants that were unpacked to words of 16 bits, times whole activations: one instruction multiplies two
//! columns, and no digits are joined. For instruction sets without dot products of bytes.
#![allow(clippy::needless_range_loop)] // the loops run over several arrays, and must unroll

use std::hint::black_box;

use super::block_tile::{format_of, scales};
use super::tile::{Results, TileCall};
use crate::cpu::block::{BlockFormat, Zero};
use crate::cpu::digits::{BLOCK, SCALE_BLOCKS};
use crate::cpu::simd::{Kernel, Simd16};

/// Pairs of columns of a block.
const PAIRS: usize = BLOCK / 2;

/// `M` rows times a panel of a block-wise type, whose ggml id is `TYPE`, unpacked to words.
pub(super) struct WordTile<'a, const TYPE: u32, const M: usize>(pub(super) &'a TileCall);

// Whoever makes the tile keeps the promises of `TileFunction`; the digits are words.
impl<const TYPE: u32, const M: usize> Kernel for WordTile<'_, TYPE, M> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        // SAFETY: see above; the instruction set is the caller's promise.
        unsafe {
            let format = Self::FORMAT;
            let call = self.0;
            call.start::<S>(M);
            let blocks = call.columns / BLOCK;
            let mut y = [[S::zero(); 2]; M];
            for block in 0..blocks {
                let (sub, head) = format.sub_block(call.panel, block);
                call.fetch_ahead::<S>(block);
                for group in 0..format.groups {
                    for half in 0..2 {
                        self.add_group::<S>((sub, head), (block, group, half), &mut y);
                    }
                }
                if (block + 1).is_multiple_of(SCALE_BLOCKS) || block + 1 == blocks {
                    call.scale_sums::<S, M>(block, &mut y);
                }
            }
        }
    }
}

impl<const TYPE: u32, const M: usize> WordTile<'_, TYPE, M> {
    const FORMAT: BlockFormat = format_of(TYPE).words();

    /// One group of columns of half a panel: exact sums, then the float steps of the contract.
    #[inline(always)]
    unsafe fn add_group<S: Simd16>(
        &self,
        (sub, head): (*const u8, *const u8),
        (block, group, half): (usize, usize, usize),
        y: &mut Results<S, M>,
    ) {
        // SAFETY: as in `run`.
        unsafe {
            let format = Self::FORMAT;
            let which = if format.groups == 1 { 0 } else { 1 + group };
            let mut sums = [S::zero_i(); M];
            if let Zero::Offset { shift } = format.zero {
                for m in 0..M {
                    let negative = (*self.0.digits.row(m).add(block)).negative[which];
                    sums[m] = S::shl_i(S::splat_i(negative), shift);
                }
            }
            // A count that the compiler knows makes it unroll the loop, and run out of registers.
            let pairs = black_box(PAIRS / format.groups);
            let first = group * (PAIRS / format.groups);
            let lines = sub.add(half * format.half_bytes());
            for pair in first..first + pairs {
                let w = S::load_i(lines.add(pair * 64));
                for m in 0..M {
                    let x = (*self.0.digits.row(m).add(block)).words().add(pair);
                    sums[m] = S::dot_words(sums[m], w, x.read());
                }
            }
            let (d, minimum) = scales::<S>(format, (sub, head), (group, half));
            for m in 0..M {
                y[m][half] = S::fma(S::to_f(sums[m]), d, y[m][half]);
                if format.has_minimum() {
                    let sum = (*self.0.digits.row(m).add(block)).sums[which];
                    y[m][half] = S::fma(minimum, S::splat(sum), y[m][half]);
                }
            }
        }
    }
}
