//! Products of prompts on a matrix unit. Their contract, unlike that of blocks, lets whole columns of tiles be
//! summed before the first float step: storing a tile's sums costs more than the products of a step.
//!
//! Weights and activations are integers of 16 bits with one scale a row and segment (at most 576 columns):
//! ```text
//! W = 256 w1 + w0, X = 256 x1 + x0     digits in -128..=127
//! H = sum of w1 x1, C = sum of w1 x0 + w0 x1     exact in i32; w0 x0 is left out
//! y = fma(fma(f32(H), 256, f32(C)), 256 s_w * s_x, y)     segment by segment
//! ```
//! In layers of block-wise weights prompt tokens always take it, and generated tokens never do: a row's result depends
//! on what its token is, and on no other row.

use std::ops::Range;

use crate::cpu::digits::BLOCK;

/// Columns of a tile.
pub(crate) const STEP: usize = 64;
/// Rows of a group: one tile.
pub(crate) const GROUP_ROWS: usize = 16;
/// The most steps of a segment: a panel's 36 KiB fit the nearest cache, and f32(H) is exact.
pub(crate) const SEGMENT_STEPS: usize = 9;
/// Bytes of 16 rows x 64 columns.
pub(crate) const TILE_BYTES: usize = GROUP_ROWS * STEP;

/// How the columns of a row are cut: into equal segments, as near as steps allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segments {
    blocks: usize,
    pub(crate) steps: usize,
    pub(crate) count: usize,
}

impl Segments {
    /// Of `columns` in whole blocks of 32; the last step may be half empty.
    pub(crate) const fn of(columns: usize) -> Self {
        let steps = columns.div_ceil(STEP);
        Self { blocks: columns / BLOCK, steps, count: steps.div_ceil(SEGMENT_STEPS) }
    }

    pub(crate) fn steps_of(self, segment: usize) -> Range<usize> {
        let start = |segment: usize| self.steps * segment / self.count;
        start(segment)..start(segment + 1)
    }

    /// Blocks of 32 columns.
    pub(crate) fn blocks_of(self, segment: usize) -> Range<usize> {
        let Range { start, end } = self.steps_of(segment);
        start * (STEP / BLOCK)..self.blocks.min(end * (STEP / BLOCK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cover_all_steps_and_hold_at_most_nine() {
        for columns in (32..10_000).step_by(32) {
            let segments = Segments::of(columns);
            let (mut step, mut block) = (0, 0);
            for segment in 0..segments.count {
                let (steps, blocks) = (segments.steps_of(segment), segments.blocks_of(segment));
                assert_eq!((steps.start, blocks.start), (step, block));
                assert!((1..=SEGMENT_STEPS).contains(&steps.len()));
                (step, block) = (steps.end, blocks.end);
            }
            assert_eq!((step, block), (columns.div_ceil(STEP), columns / BLOCK));
        }
    }
}
