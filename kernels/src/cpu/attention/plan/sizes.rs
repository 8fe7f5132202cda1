//! The largest plans of a model, so that memory for them can be had before.

use super::{Cut, FEW_TOKENS, HeadShape, PART, Unit, rows_max};
use crate::cpu::attention::buffers::Line;
use crate::cpu::attention::unit::slot_lines;

/// Of partial results, for many sequences that are shorter than the longest one may be. Those for which nothing is left
/// are not cut: others keep the threads busy.
const SLOT_BYTES: usize = 16 << 20;

/// Elements of a plan's lists, and slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlanSizes {
    pub(crate) units: usize,
    pub(crate) cuts: usize,
    pub(crate) slots: usize,
}

impl PlanSizes {
    /// Of batches of up to `rows` rows, in sequences of up to `positions` tokens.
    pub(crate) fn of((rows, positions): (usize, usize), shape: &HeadShape, threads: usize) -> Self {
        let slots = slots_max((rows, positions), shape);
        // A cut has one part, or takes a slot of every head for each.
        let parts = rows + slots / shape.query_heads;
        // Beside these, rows of a part are separated only until there are two units a thread.
        let pieces = (FEW_TOKENS * shape.group()).div_ceil(rows_max(shape.group()));
        let units = shape.kv_heads * (rows + parts * pieces) + 2 * threads;
        Self { units, cuts: rows, slots }
    }

    /// Of the lists.
    pub(crate) fn bytes(self) -> usize {
        self.units * size_of::<Unit>() + self.cuts * size_of::<Cut>()
    }
}

/// A lone sequence is cut wherever it stands, since nothing else keeps the threads busy.
fn slots_max((rows, positions): (usize, usize), shape: &HeadShape) -> usize {
    let parts = positions.div_ceil(PART);
    if parts <= 1 {
        return 0;
    }
    let bytes_each = shape.query_heads * slot_lines(shape) * size_of::<Line>();
    let lone = rows.min(FEW_TOKENS) * parts;
    (rows * parts).min(lone.max(SLOT_BYTES / bytes_each)) * shape.query_heads
}
