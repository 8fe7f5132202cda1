//! The memory of a thread for one unit: its rows' queries and results, and a tile of keys and values.

use super::HeadShape;
use super::plan::rows_max;
use super::step::{QUERY_STRIDE, STEP};
use crate::cpu::memory::{AllocError, Number, Scratch};
use crate::cpu::simd::LANES;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line([f32; LANES]);

// SAFETY: floats without padding.
unsafe impl Number for Line {}

/// A thread's buffers.
#[derive(Default)]
pub(crate) struct Buffers {
    lines: Scratch<Line>,
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
    /// Room for every unit of the shape.
    pub(crate) fn reserve(&mut self, shape: &HeadShape) -> Result<(), AllocError> {
        self.lines.reserve(lines_max(shape))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.lines.bytes()
    }

    /// What `reserve` takes.
    pub(crate) fn bytes_max(shape: &HeadShape) -> usize {
        lines_max(shape) * size_of::<Line>()
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

fn lines_max(shape: &HeadShape) -> usize {
    let rows = rows_max(shape.group()).next_multiple_of(LANES);
    area_floats(rows, shape.head_dim.next_multiple_of(LANES)).div_ceil(LANES)
}

/// Floats of all areas for `rows` rows.
fn area_floats(rows: usize, width: usize) -> usize {
    rows * (QUERY_STRIDE + 2 * width + LANES + 4) + 2 * tile_floats(width)
}

/// A step's keys or values: as f32, or as tiles of 32 dimensions.
fn tile_floats(width: usize) -> usize {
    STEP * width.next_multiple_of(2 * LANES)
}
