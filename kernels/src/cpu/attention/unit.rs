//! Runs one unit of work: loads and scales its queries, walks its keys step by step and part by part,
//! and leaves either finished rows or partial results.

use super::element::{Bf16, Element, F16, F32, Tile};
use super::merge::{Merged, PartResult, finish};
use super::plan::{Cut, Keys, Unit, rows_max};
use super::step::{QUERY_STRIDE, RowState, STEP, StepKeys, step};
use super::{HeadShape, PART};
use crate::cpu::kv_cache::{CacheType, LayerPages};
use crate::cpu::memory::Shared;
use crate::cpu::rows::{Rows, SharedRows};
use crate::cpu::simd::{Kernel, LANES, Simd16};

/// From this many rows on, a step's keys and values are converted once and not for each few rows.
const TILE_ROWS: usize = 12;

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
}

/// Floats of a partial result: whole cache lines, so that threads do not share one.
pub(crate) fn slot_floats(width: usize) -> usize {
    width + LANES
}

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
struct Areas {
    q: *mut f32,
    o: *mut f32,
    max: *mut f32,
    sum: *mut f32,
    merged_o: *mut f32,
    /// Maximum and sum of each row.
    merged: *mut [f32; 2],
    /// Keys that each row sees.
    seen: *mut u32,
    k: *mut f32,
    v: *mut f32,
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

    fn areas(&mut self, rows: usize, width: usize) -> Areas {
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
            k: take(STEP * width),
            v: take(STEP * width),
        }
    }
}

/// Floats of all areas for `rows` rows.
fn area_floats(rows: usize, width: usize) -> usize {
    rows * (QUERY_STRIDE + 2 * width + LANES + 4) + 2 * STEP * width
}

/// How many of the `rest` remaining rows are taken at a time: few remainders of one or two rows.
fn rows_taken(rest: usize) -> usize {
    match rest {
        1 | 2 => rest,
        3 | 5 => 3,
        4 | 7 | 8 => 4,
        _ => 6,
    }
}

/// What a unit's functions share.
#[derive(Clone, Copy)]
struct Job<'a> {
    call: &'a Call<'a>,
    unit: &'a Unit,
    areas: Areas,
    state: RowState,
}

/// Runs one unit.
///
/// # Safety
/// The call's pointers cover the rows, blocks and slots that its units name, nobody else accesses this
/// unit's output rows or slots, keys up to each row's position are in the cache, the buffers are
/// reserved, and the processor has the instruction set of `S`.
#[inline(always)]
pub(crate) unsafe fn run_unit<S: Simd16>(call: &Call<'_>, unit: &Unit, buffers: &mut Buffers) {
    let width = call.pages.shape.width();
    let areas = buffers.areas(unit.rows, width);
    let state =
        RowState { q: areas.q, o: areas.o, max: areas.max, sum: areas.sum, dims: call.shape.head_dim, width };
    let job = Job { call, unit, areas, state };
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
    fn seen(&self, row: usize) -> usize {
        assert!(row < self.unit.rows);
        // SAFETY: a row of the unit, and the area has room for all.
        unsafe { *self.areas.seen.add(row) as usize }
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
                let to = self.areas.q.add(row * QUERY_STRIDE);
                for d in (0..dims).step_by(LANES) {
                    let q = S::load_first(query.as_ptr().add(d), LANES.min(dims - d));
                    S::store(to.add(d), S::mul(q, S::splat(scale)));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn run_part<S: Simd16>(&self, part: usize) {
        // SAFETY: the areas have room for the unit's rows; the rest is the caller's promise.
        unsafe {
            std::slice::from_raw_parts_mut(self.areas.o, self.unit.rows * self.state.width).fill(0.0);
            std::slice::from_raw_parts_mut(self.areas.sum, self.unit.rows * LANES).fill(0.0);
            std::slice::from_raw_parts_mut(self.areas.max, self.unit.rows).fill(f32::NEG_INFINITY);
            match self.call.pages.shape.cache_type {
                CacheType::F32 => self.run_steps::<S, F32>(part),
                CacheType::F16 => self.run_steps::<S, F16>(part),
                CacheType::Bf16 => self.run_steps::<S, Bf16>(part),
            }
        }
    }

    #[inline(always)]
    unsafe fn run_steps<S: Simd16, E: Element>(&self, part: usize) {
        let end = self.seen(self.unit.rows - 1).min((part + 1) * PART);
        for key in (part * PART..end).step_by(STEP) {
            // SAFETY: the caller's promises; a tile is filled before it is used.
            unsafe {
                let keys = self.step_keys::<E>(key);
                if self.unit.rows >= TILE_ROWS {
                    let tile = self.fill_tile::<S, E>(&keys, (end - key).min(STEP));
                    self.run_rows::<S, Tile>(key, &tile);
                } else {
                    self.run_rows::<S, E>(key, &keys);
                }
            }
        }
    }

    /// Where the keys from `key` on lie; beyond the sequence's last block the last one is repeated.
    #[inline(always)]
    unsafe fn step_keys<E: Element>(&self, key: usize) -> StepKeys<E::Bits> {
        let shape = &self.call.pages.shape;
        let table = self.call.block_tables[self.unit.run.sequence];
        let blocks = self.unit.run.keys().div_ceil(shape.block_size);
        let at = |key: usize| {
            let block = table[(key / shape.block_size).min(blocks - 1)];
            let offset = key % shape.block_size;
            // SAFETY: the call's block tables name blocks of the cache; the offsets stay in the page.
            unsafe {
                let page = self.call.pages.page(block, self.unit.kv_head).cast::<E::Bits>().cast_const();
                (page.add(offset), page.add(shape.key_elements() + offset * shape.width()))
            }
        };
        let here: [_; STEP / LANES] = std::array::from_fn(|j| at(key + j * LANES));
        let ahead: [_; STEP / LANES] = std::array::from_fn(|j| at(key + STEP + j * LANES));
        StepKeys {
            k: here.map(|pair| pair.0),
            v: here.map(|pair| pair.1),
            k_ahead: ahead.map(|pair| pair.0),
            v_ahead: ahead.map(|pair| pair.1),
            k_stride: shape.block_size,
            v_stride: shape.width(),
        }
    }

    /// Converts a step's keys, and the first `count` of its values, to f32.
    #[inline(always)]
    unsafe fn fill_tile<S: Simd16, E: Element>(
        &self,
        keys: &StepKeys<E::Bits>,
        count: usize,
    ) -> StepKeys<f32> {
        let (k, v, width) = (self.areas.k, self.areas.v, self.state.width);
        // SAFETY: the areas have room for a step; keys and values are readable by the caller's promise.
        unsafe {
            for d in 0..self.state.dims {
                for j in 0..STEP / LANES {
                    let x = E::load::<S>(keys.k[j].add(d * keys.k_stride));
                    S::store(k.add(d * STEP + j * LANES), x);
                }
            }
            for t in 0..count {
                let from = keys.v[t / LANES].add(t % LANES * keys.v_stride);
                for d in (0..width).step_by(LANES) {
                    S::store(v.add(t * width + d), E::load::<S>(from.add(d)));
                }
            }
        }
        let k = std::array::from_fn(|j| k.wrapping_add(j * LANES).cast_const());
        let v = std::array::from_fn(|j| v.wrapping_add(j * LANES * width).cast_const());
        StepKeys { k, v, k_stride: STEP, v_stride: width, k_ahead: k, v_ahead: v }
    }

    /// Takes all rows over one step, a few at a time.
    #[inline(always)]
    unsafe fn run_rows<S: Simd16, E: Element>(&self, key: usize, keys: &StepKeys<E::Bits>) {
        let mut row = 0;
        while row < self.unit.rows {
            // SAFETY: that many rows are left in the unit.
            row += unsafe {
                match rows_taken(self.unit.rows - row) {
                    1 => self.run_few::<S, E, 1>(row, key, keys),
                    2 => self.run_few::<S, E, 2>(row, key, keys),
                    3 => self.run_few::<S, E, 3>(row, key, keys),
                    4 => self.run_few::<S, E, 4>(row, key, keys),
                    _ => self.run_few::<S, E, 6>(row, key, keys),
                }
            };
        }
    }

    #[inline(always)]
    unsafe fn run_few<S: Simd16, E: Element, const M: usize>(
        &self,
        row: usize,
        key: usize,
        keys: &StepKeys<E::Bits>,
    ) -> usize {
        let mut counts = [0; M];
        for (r, count) in counts.iter_mut().enumerate() {
            *count = self.seen(row + r).saturating_sub(key).min(STEP);
        }
        if counts[M - 1] > 0 {
            // SAFETY: the caller's promises, and `S` is the running instruction set.
            unsafe { S::call(StepKernel::<E, M> { rows: self.state.from(row), counts: &counts, keys }) };
        }
        M
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

/// `step` as a function of its own, so that the code exists once for each element type and row count.
struct StepKernel<'a, E: Element, const M: usize> {
    rows: RowState,
    counts: &'a [usize; M],
    keys: &'a StepKeys<E::Bits>,
}

impl<E: Element, const M: usize> Kernel for StepKernel<'_, E, M> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        // SAFETY: whoever makes the kernel answers for `step`'s conditions.
        unsafe { step::<S, E, M>(self.rows, self.counts, self.keys) }
    }
}
