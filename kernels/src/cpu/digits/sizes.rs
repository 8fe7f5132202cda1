//! How much room prepared inputs take.

use super::wide::group_sizes;
use super::{BLOCK, DigitBlock};
use crate::cpu::linear::wide::GROUP_ROWS;
use crate::cpu::simd::LANES;

/// Rows of an input, as they are prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PreparedRows {
    /// In blocks, with copies.
    pub(crate) blocks: usize,
    pub(crate) wide: usize,
    /// In floats: all where weights are dense, else one a thread, which becomes digits at once.
    pub(crate) floats: usize,
}

/// Their columns in each form, 0 where nobody reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FormColumns {
    pub(crate) digits: usize,
    pub(crate) floats: usize,
}

/// Numbers of each kind. With more rows or columns none of them is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ActivationSizes {
    pub(super) digits: usize,
    pub(super) wide_digits: usize,
    pub(super) wide_scales: usize,
    pub(super) floats: usize,
}

impl ActivationSizes {
    pub(crate) fn of(rows: PreparedRows, columns: FormColumns) -> Self {
        let (bytes, scales) = group_sizes(columns.digits);
        let groups = rows.wide.div_ceil(GROUP_ROWS);
        Self {
            digits: rows.blocks * columns.digits.div_ceil(BLOCK),
            wide_digits: groups * bytes,
            wide_scales: groups * scales,
            floats: rows.floats * columns.floats.next_multiple_of(LANES),
        }
    }

    /// What is enough for both.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            digits: self.digits.max(other.digits),
            wide_digits: self.wide_digits.max(other.wide_digits),
            wide_scales: self.wide_scales.max(other.wide_scales),
            floats: self.floats.max(other.floats),
        }
    }

    pub(crate) fn bytes(self) -> usize {
        let Self { digits, wide_digits, wide_scales, floats } = self;
        digits * size_of::<DigitBlock>() + wide_digits + (wide_scales + floats) * size_of::<f32>()
    }
}
