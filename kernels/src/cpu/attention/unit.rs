//! Runs one unit of work: loads and scales its queries, takes them over their keys part by part (`part`),
//! and leaves either finished rows or partial results, which `merge_row` finishes after a barrier.

use super::buffers::{Areas, Buffers};
use super::merge::{Merged, PartResult, finish};
use super::plan::{Cut, Keys, Unit};
use super::step::{QUERY_STRIDE, RowState};
use super::wide::ROWS;
use super::wide_tiles::{put_query, query_tiles};
use super::{HeadShape, PART};
use crate::cpu::kv_cache::LayerPages;
use crate::cpu::linear::matrix_unit::MatrixCode;
use crate::cpu::memory::Shared;
use crate::cpu::rows::{Rows, SharedRows};
use crate::cpu::simd::{LANES, Simd16};

/// One attention call, as its threads share it.
pub(crate) struct Call<'a> {
    pub(crate) shape: HeadShape,
    pub(crate) pages: LayerPages,
    pub(crate) block_tables: &'a [&'a [u32]],
    pub(crate) cuts: &'a [Cut],
    /// Rows of queries, keys and values.
    pub(crate) qkv: &'a Rows,
    pub(crate) out: SharedRows,
    /// `slot_floats` floats a slot: the output, then maximum and sum.
    pub(crate) slots: Shared<f32>,
    /// For rows of prompts, if there are any. Configured on each thread.
    pub(crate) unit: Option<MatrixCode>,
}

/// Floats of a partial result: whole cache lines, so that threads do not share one.
fn slot_floats(width: usize) -> usize {
    width + LANES
}

/// Cache lines of a partial result.
pub(crate) fn slot_lines(shape: &HeadShape) -> usize {
    slot_floats(shape.head_dim.next_multiple_of(LANES)) / LANES
}

/// What a unit's functions share.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) call: &'a Call<'a>,
    pub(super) unit: &'a Unit,
    /// What this thread does next, if it knows.
    pub(super) next: Option<&'a Unit>,
    pub(super) areas: Areas,
    pub(super) state: RowState,
}

/// Runs one unit. Its last keys and values fetch the first ones of the `next` unit, unless its rows are converted in
/// tiles.
///
/// # Safety
/// Both are units of the call, whose pointers cover the rows, blocks and slots that its units name; nobody else
/// accesses this unit's output rows or slots, keys up to each row's position are in the cache, the buffers are
/// reserved, and the processor has the instruction set of `S`.
#[inline(always)]
pub(crate) unsafe fn run_unit<S: Simd16>(
    call: &Call<'_>,
    unit: &Unit,
    next: Option<&Unit>,
    buffers: &mut Buffers,
) {
    let width = call.pages.shape.width();
    let areas = buffers.areas(unit.rows, width);
    let state =
        RowState { q: areas.q, o: areas.o, max: areas.max, sum: areas.sum, dims: call.shape.head_dim, width };
    let job = Job { call, unit, next, areas, state };
    // SAFETY: the caller's promises; `areas` has room for the unit's rows.
    unsafe {
        job.load_queries::<S>();
        match unit.keys {
            Keys::Part { part, cut } => {
                job.run_part::<S>(part);
                job.leave_part::<S>(part, &call.cuts[cut]);
            }
            Keys::All => {
                job.run_part::<S>(0);
                let parts = job.seen(unit.rows - 1).div_ceil(PART);
                if parts > 1 {
                    job.start_merge::<S>();
                }
                for part in 1..parts {
                    job.run_part::<S>(part);
                    job.merge_part::<S>(part);
                }
                job.finish::<S>(parts);
            }
        }
    }
}

impl Job<'_> {
    /// The token (in the run) and query head of a row.
    #[inline(always)]
    fn place(&self, row: usize) -> (usize, usize) {
        let group = self.call.shape.group();
        let row = self.unit.row + row;
        (row / group, self.unit.kv_head * group + row % group)
    }

    /// Keys that a row sees; `load_queries` has noted it.
    #[inline(always)]
    pub(super) fn seen(&self, row: usize) -> usize {
        assert!(row < self.unit.rows);
        // SAFETY: a row of the unit, and the area has room for all.
        unsafe { *self.areas.seen.add(row) as usize }
    }

    /// The matrix unit, if the unit of work is for it.
    #[inline(always)]
    pub(super) fn matrix_unit(&self) -> Option<MatrixCode> {
        self.call.unit.filter(|_| self.unit.run.is_prompt)
    }

    /// Queries are scaled into base 2: 2^(q k scale log2 e) = e^(q k scale).
    #[inline(always)]
    unsafe fn load_queries<S: Simd16>(&self) {
        let dims = self.state.dims;
        let scale = self.call.shape.scale * std::f32::consts::LOG2_E;
        for row in 0..self.unit.rows {
            let (token, head) = self.place(row);
            let query = &self.call.qkv.row(self.unit.run.batch_row + token)[head * dims..][..dims];
            // SAFETY: row and dimension lie in the query, and in this thread's areas.
            unsafe {
                *self.areas.seen.add(row) = (self.unit.run.position + token + 1) as u32;
                if self.matrix_unit().is_some() {
                    let tiles = query_tiles(self.areas.q, row).cast_mut();
                    put_query::<S>(query.as_ptr(), (dims, scale), row % ROWS, tiles);
                    continue;
                }
                let to = self.areas.q.add(row * QUERY_STRIDE);
                for d in (0..dims).step_by(LANES) {
                    let from = query.as_ptr().add(d);
                    // Masks cost more than the rest of this loop.
                    let q = if dims - d >= LANES { S::load(from) } else { S::load_first(from, dims - d) };
                    S::store(to.add(d), S::mul(q, S::splat(scale)));
                }
            }
        }
    }

    /// The result of a row over the part that was just run.
    #[inline(always)]
    unsafe fn part_result<S: Simd16>(&self, row: usize) -> PartResult {
        // SAFETY: a row of the unit.
        unsafe {
            PartResult {
                o: self.areas.o.add(row * self.state.width),
                max: *self.areas.max.add(row),
                sum: S::reduce_sum(S::load(self.areas.sum.add(row * LANES))),
            }
        }
    }

    /// Leaves the part's results for `merge_row`.
    #[inline(always)]
    unsafe fn leave_part<S: Simd16>(&self, part: usize, cut: &Cut) {
        let width = self.state.width;
        for row in 0..self.unit.rows {
            if self.seen(row) <= part * PART {
                continue;
            }
            let (token, head) = self.place(row);
            let slot = cut.row_slot(token, head, &self.call.shape) + part;
            // SAFETY: the slot is this row's and part's own.
            unsafe {
                let result = self.part_result::<S>(row);
                let at = self.call.slots.get().add(slot * slot_floats(width));
                std::ptr::copy_nonoverlapping(result.o, at, width);
                *at.add(width) = result.max;
                *at.add(width + 1) = result.sum;
            }
        }
    }

    /// Makes the first part what the others are merged into.
    #[inline(always)]
    unsafe fn start_merge<S: Simd16>(&self) {
        let floats = self.unit.rows * self.state.width;
        // SAFETY: the areas have room for the unit's rows.
        unsafe {
            std::ptr::copy_nonoverlapping(self.areas.o, self.areas.merged_o, floats);
            for row in 0..self.unit.rows {
                let first = self.part_result::<S>(row);
                *self.areas.merged.add(row) = [first.max, first.sum];
            }
        }
    }

    #[inline(always)]
    unsafe fn merged(&self, row: usize) -> Merged {
        // SAFETY: a row of the unit.
        unsafe {
            let [max, sum] = *self.areas.merged.add(row);
            Merged { o: self.areas.merged_o.add(row * self.state.width), max, sum }
        }
    }

    #[inline(always)]
    unsafe fn merge_part<S: Simd16>(&self, part: usize) {
        for row in 0..self.unit.rows {
            if self.seen(row) > part * PART {
                // SAFETY: a row of the unit.
                unsafe {
                    let mut merged = self.merged(row);
                    merged.add::<S>(self.part_result::<S>(row), self.state.width);
                    *self.areas.merged.add(row) = [merged.max, merged.sum];
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn finish<S: Simd16>(&self, parts: usize) {
        for row in 0..self.unit.rows {
            let (token, head) = self.place(row);
            // SAFETY: a row and head of the output that belong to this unit.
            unsafe {
                let out = self.call.out.row(self.unit.run.batch_row + token).add(head * self.state.dims);
                let result = if parts > 1 { self.merged(row).into() } else { self.part_result::<S>(row) };
                finish::<S>(result, self.state.dims, out);
            }
        }
    }
}

/// Merges the partial results of one row and head, and writes its output.
///
/// # Safety
/// The cut's slots are complete; the rest as in `run_unit`.
#[inline(always)]
pub(crate) unsafe fn merge_row<S: Simd16>(call: &Call<'_>, cut: &Cut, token: usize, head: usize) {
    let width = call.pages.shape.width();
    let dims = call.shape.head_dim;
    let first = cut.row_slot(token, head, &call.shape);
    let parts = (cut.run.position + token + 1).div_ceil(PART);
    // SAFETY: the caller's promises.
    unsafe {
        let at = |part: usize| call.slots.get().add((first + part) * slot_floats(width));
        let result = |o: *const f32| PartResult { o, max: *o.add(width), sum: *o.add(width + 1) };
        let start = result(at(0));
        // The first slot takes the others: nobody else reads it.
        let mut merged = Merged { o: at(0), max: start.max, sum: start.sum };
        for part in 1..parts {
            merged.add::<S>(result(at(part)), width);
        }
        let out = call.out.row(cut.run.batch_row + token).add(head * dims);
        finish::<S>(merged.into(), dims, out);
    }
}
