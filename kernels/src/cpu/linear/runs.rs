//! A panel times a block of rows, one run of columns after the other and tile by tile inside it, so that what tiles
//! share of the panel stays in the first cache. For many rows the run's quants are unpacked before.

use super::expand::{Expanded, RUN_BYTES};
use super::tile::{Quants, Strided, TileCall, function, tile_rows};
use crate::cpu::ahead::{BLOCK_LINES, Left, Stretch};
use crate::cpu::block::{BlockFormat, WeightType};
use crate::cpu::digits::{BLOCK, Form, SCALE_BLOCKS};
use crate::cpu::pack::{PANEL_ROWS, PackedMatrix};
use crate::cpu::simd::Simd16;

/// Rows from which unpacking quants of two planes once for all of them is faster than for every tile: measured with
/// prompts of 36 to 512 tokens by tiles of four rows; fewer registers mean tiles of two rows. Quants of one plane gain
/// nothing.
const fn expand_rows<S: Simd16>() -> usize {
    if S::REGISTERS >= 32 { 64 } else { 8 }
}

/// `rows` rows times the panel of the call, which names the first of them. The sums of a row go on from run to run, so
/// that nothing of the cut shows in the result.
///
/// # Safety
/// As of the tiles, with all rows.
#[inline(always)]
pub(super) unsafe fn column_runs<S: Simd16>(
    matrix: &PackedMatrix,
    rows: usize,
    (call, form): (TileCall, Form),
    ahead: Option<Left<'_>>,
) {
    let weight_type = matrix.weight_type();
    let is_one_tile = form == Form::Digits && rows == tile_rows::<S>(Quants::Packed, rows);
    let Some(format) = BlockFormat::of(weight_type).filter(|_| !is_one_tile) else {
        // SAFETY: the caller's promise.
        return unsafe { tiles::<S>((weight_type, Quants::Packed), rows, &call, None) };
    };
    let (quants, stored) = match form {
        Form::Words => (Quants::Words, format.words()),
        Form::Digits if rows >= expand_rows::<S>() && format.is_spread() => {
            (Quants::Bytes, format.expanded())
        }
        Form::Digits => (Quants::Packed, format),
    };
    let (width, bytes) = (weight_type.block_elements(), format.panel_block_bytes());
    let blocks = call.columns / width;
    let runs = blocks.div_ceil((RUN_BYTES / stored.panel_block_bytes()).max(1));
    // Whole scales, whose sums do not go on.
    let run_blocks = blocks.div_ceil(runs).next_multiple_of(SCALE_BLOCKS.div_ceil(format.subs));
    let mut expanded = Expanded::new();
    for first in (0..blocks).step_by(run_blocks) {
        // SAFETY: the blocks from `first` on, and the digits they meet; each run leaves sums for the next.
        unsafe {
            let count = run_blocks.min(blocks - first);
            let packed = call.panel.add(first * bytes);
            let panel = match quants {
                Quants::Packed => packed,
                Quants::Bytes | Quants::Words => expanded.fill::<S>((weight_type, quants), packed, count),
            };
            let run = TileCall {
                panel,
                columns: count * width,
                resumes: first > 0,
                digits: Strided { start: call.digits.start.add(first * width / BLOCK), ..call.digits },
                ..call
            };
            tiles::<S>((weight_type, quants), rows, &run, ahead);
        }
    }
}

/// `rows` rows from the call's first one on, tile by tile.
///
/// # Safety
/// As of the tiles, with all rows.
#[inline(always)]
unsafe fn tiles<S: Simd16>(
    weights: (WeightType, Quants),
    rows: usize,
    call: &TileCall,
    ahead: Option<Left<'_>>,
) {
    let mut row = 0;
    while row < rows {
        let count = tile_rows::<S>(weights.1, rows - row);
        let lines = call.columns / BLOCK * BLOCK_LINES;
        // SAFETY: the caller's promise.
        unsafe {
            function::<S>(weights, count)(&TileCall {
                digits: Strided { start: call.digits.row(row), ..call.digits },
                floats: Strided { start: call.floats.row(row), ..call.floats },
                out: call.out.add(row * PANEL_ROWS),
                ahead: ahead.map_or(Stretch::NONE, |ahead| ahead.take(lines)),
                ..*call
            });
        }
        row += count;
    }
}
