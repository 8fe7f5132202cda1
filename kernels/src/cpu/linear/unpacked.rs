//! Columns of a panel unpacked for a matrix unit, once for many rows: weights as signed bytes, scales as f32.
//! They stay in the nearest cache while the rows pass.

use super::block_tile::{format_of, quants, scales};
use crate::cpu::block::{BlockFormat, Zero};
use crate::cpu::simd::{LANES, Simd16};

/// Groups of columns that share a scale: with 32 columns a step, 12 KiB of weights and 3 KiB of scales a half.
pub(super) const STEPS: usize = 24;

/// Bytes that the weight stream is fetched ahead: about what is unpacked next, while the rows pass.
const AHEAD: usize = 16 << 10;

/// Weights of a step: 8 lines of 16 outputs x 4 columns. Groups of 16 columns fill half of the lines; the others
/// are 0, so that one shape of registers serves all formats.
pub(super) type Lines = [[u8; 64]; 8];

/// d, then m.
pub(super) type Scales = [[f32; LANES]; 2];

/// Half of a panel.
#[repr(C, align(64))]
pub(super) struct Unpacked {
    pub(super) lines: [Lines; STEPS],
    pub(super) scales: [Scales; STEPS],
}

/// Blocks of 32 columns to unpack at a time, when a matrix has `blocks`: about equal parts.
pub(super) const fn blocks_at_once(format: BlockFormat, blocks: usize) -> usize {
    let most = STEPS / format.groups / format.subs * format.subs;
    blocks.div_ceil(blocks.div_ceil(most)).next_multiple_of(format.subs)
}

/// `count` blocks of 32 columns from `first` on of both halves of a panel, whose type is `TYPE`.
///
/// # Safety
/// The panel has the blocks, whole ones of its type, and they are at most `STEPS` steps; the processor has the
/// instruction set of `S`.
#[inline(always)]
pub(super) unsafe fn unpack<S: Simd16, const TYPE: u32>(
    panel: *const u8,
    (first, count): (usize, usize),
    out: *mut [Unpacked; 2],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let format = const { format_of(TYPE) };
        let mut step = 0;
        for block in first..first + count {
            let whole = panel.add(block / format.subs * format.panel_block_bytes());
            let sub = whole.add(block % format.subs * format.sub_bytes());
            let head = whole.add(format.head_at());
            for line in 0..format.panel_block_bytes() / format.subs / 64 {
                S::prefetch_second(sub.wrapping_add(AHEAD + line * 64));
            }
            for group in 0..format.groups {
                for half in 0..2 {
                    let from = sub.add(half * format.half_bytes());
                    let out = &raw mut (*out)[half];
                    unpack_lines::<S, TYPE>(from, group, (&raw mut (*out).lines[step]).cast());
                    let (d, m) = scales::<S>(format, (sub, head), (group, half));
                    S::store((&raw mut (*out).scales[step][0]).cast(), d);
                    S::store((&raw mut (*out).scales[step][1]).cast(), m);
                }
                step += 1;
            }
        }
    }
}

#[inline(always)]
unsafe fn unpack_lines<S: Simd16, const TYPE: u32>(half: *const u8, group: usize, out: *mut u8) {
    // SAFETY: as in `unpack`.
    unsafe {
        let format = const { format_of(TYPE) };
        let lines = 8 / format.groups;
        for line in 0..8 {
            let weights = if line < lines {
                let q = quants::<S>(format, half, group * lines + line);
                match format.zero {
                    Zero::Minimum => q,
                    Zero::Offset { shift } => {
                        S::add_bytes(q, S::splat_i(i32::from_ne_bytes([offset(shift); 4])))
                    }
                }
            } else {
                S::zero_i()
            };
            S::store_i(out.add(line * 64), weights);
        }
    }
}

/// The byte that takes the offset 2^shift off.
const fn offset(shift: u32) -> u8 {
    (1u8 << shift).wrapping_neg()
}
