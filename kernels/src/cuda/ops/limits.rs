//! The largest step, and the sizes of what follows from it.

use crate::cpu::attention::HeadShape;

/// Rows of the largest step that is recorded.
const RECORDED_ROWS_MAX: usize = 256;

/// What the largest step needs.
#[derive(Clone, Copy, Debug)]
pub struct StepLimits {
    pub rows: usize,
    /// Sequences of a step, and sampled rows.
    pub sampled: usize,
    pub positions: usize,
    pub block_size: usize,
    pub shape: HeadShape,
}

impl StepLimits {
    /// (rows, sampled rows) of the tables of small steps and of all others.
    pub(super) fn tables(&self) -> [(usize, usize); 2] {
        let small = (self.rows.min(RECORDED_ROWS_MAX), self.sampled.min(RECORDED_ROWS_MAX));
        [small, (self.rows, self.sampled)]
    }

    /// Of the cache, in tables of all sequences.
    pub(super) fn blocks(&self) -> usize {
        self.sampled * self.positions.div_ceil(self.block_size)
    }
}
