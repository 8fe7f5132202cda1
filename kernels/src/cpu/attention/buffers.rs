//! The memory of a thread for one unit: its rows' queries and results, and a tile of keys and values.

use super::HeadShape;
use super::plan::rows_max;
use super::step::{QUERY_STRIDE, STEP};
use crate::cpu::simd::LANES;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line([f32; LANES]);

impl Line {
    pub(crate) const ZERO: Self = Self([0.0; LANES]);
}

/// A thread's buffers.
#[derive(Default)]
pub(crate) struct Buffers {
    lines: Vec<Line>,
}

/// Parts of a thread's buffer.
#[derive(Clone, Copy)]
pub(super) struct Areas {
    pub(super) q: *mut f32,
    pub(super) o: *mut f32,
    pub(super) max: *mut f32,
    pub(super) sum: *mut f32,
    pub(super) merged_o: *mut f32,
    /// Maximum and sum of each row.
    pub(super) merged: *mut [f32; 2],
    /// Keys that each row sees.
    pub(super) seen: *mut u32,
    pub(super) k: *mut f32,
    pub(super) v: *mut f32,
}

impl Buffers {
    pub(crate) fn reserve(&mut self, shape: &HeadShape) {
        let rows = rows_max(shape.group()).next_multiple_of(LANES);
        let width = shape.head_dim.next_multiple_of(LANES);
        let lines = area_floats(rows, width).div_ceil(LANES);
        if self.lines.len() < lines {
            self.lines.resize(lines, Line::ZERO);
        }
    }

    pub(super) fn areas(&mut self, rows: usize, width: usize) -> Areas {
        let rows = rows.next_multiple_of(LANES);
        assert!(area_floats(rows, width) <= self.lines.len() * LANES, "buffers were not reserved");
        let mut next = self.lines.as_mut_ptr().cast::<f32>();
        let mut take = |floats: usize| {
            let start = next;
            next = next.wrapping_add(floats);
            start
        };
        Areas {
            q: take(rows * QUERY_STRIDE),
            o: take(rows * width),
            merged_o: take(rows * width),
            sum: take(rows * LANES),
            max: take(rows),
            merged: take(rows * 2).cast(),
            seen: take(rows).cast(),
            k: take(tile_floats(width)),
            v: take(tile_floats(width)),
        }
    }
}

/// Floats of all areas for `rows` rows.
fn area_floats(rows: usize, width: usize) -> usize {
    rows * (QUERY_STRIDE + 2 * width + LANES + 4) + 2 * tile_floats(width)
}

/// A step's keys or values: as f32, or as tiles of 32 dimensions.
fn tile_floats(width: usize) -> usize {
    STEP * width.next_multiple_of(2 * LANES)
}
