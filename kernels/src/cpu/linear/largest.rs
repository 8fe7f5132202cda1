//! Of rows of products each one's largest, without computing all: panels whose estimates, and what these can be off, leave no
//! doubt that another panel has a larger product are left out. What is found is exactly what all products would tell.

use std::ops::Range;

use super::estimate::{EstimateBlock, EstimateRow, lengths, reach};
use super::estimate_tile::{EstimateCall, estimate_function, estimate_rows};
use super::multiply::{TILE_ROWS, outputs};
use super::runs::column_runs;
use super::tile::{Strided, TileCall};
use crate::cpu::ahead::Stretch;
use crate::cpu::digits::{BLOCK, DigitBlock, Form};
use crate::cpu::memory::{Number, Shared};
use crate::cpu::pack::{PANEL_ROWS, PackedMatrix};
use crate::cpu::rows::SharedRows;
use crate::cpu::simd::{Kernel, Simd16};

/// What a thread has found of a row.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Found {
    /// The largest product of those computed.
    pub(crate) largest: f32,
    /// The first one that has it.
    pub(crate) output: u32,
    /// 1 if one was not finite.
    pub(crate) not_finite: u32,
}

// SAFETY: three numbers of four bytes, without padding.
unsafe impl Number for Found {}

impl Found {
    const NOTHING: Self = Self { largest: f32::NEG_INFINITY, output: 0, not_finite: 0 };

    /// The products from the output `first` on; those before came before.
    fn take(&mut self, first: usize, products: &[f32]) {
        for (output, product) in (first as u32..).zip(products) {
            if !product.is_finite() {
                self.not_finite = 1;
            } else if *product > self.largest {
                (self.largest, self.output) = (*product, output);
            }
        }
    }
}

/// All rows times a matrix, which threads share by panels.
#[derive(Clone, Copy)]
pub(crate) struct Largest<'a> {
    pub(crate) matrix: &'a PackedMatrix,
    /// Of its panels, one behind the other.
    pub(crate) lengths: &'a [f32],
    pub(crate) rows: usize,
    /// Of all rows, one behind the other, as are estimates and lengths.
    pub(crate) digits: Shared<DigitBlock>,
    pub(crate) estimates: Shared<EstimateBlock>,
    pub(crate) row_lengths: Shared<f32>,
    /// For each row, panel by panel, what the panel's products are at most.
    pub(crate) at_most: SharedRows,
    /// By thread, then by row: what the largest product is at least.
    pub(crate) at_least: Shared<f32>,
    /// By thread, then by row.
    pub(crate) found: Shared<Found>,
}

impl Largest<'_> {
    /// The rows from `first` on.
    #[inline(always)]
    fn digits(&self, first: usize) -> Strided<DigitBlock> {
        let stride = self.matrix.columns() / BLOCK;
        Strided { start: self.digits.get().wrapping_add(first * stride), stride }
    }

    /// The rows from `first` on.
    #[inline(always)]
    fn estimates(&self, first: usize) -> Strided<EstimateBlock> {
        let stride = self.matrix.columns() / BLOCK;
        Strided { start: self.estimates.get().wrapping_add(first * stride), stride }
    }

    /// A prepared row, for estimates.
    ///
    /// # Safety
    /// Nobody else touches it while the result is used.
    pub(crate) unsafe fn estimate_row(&self, row: usize) -> EstimateRow<'_> {
        let (blocks, lengths) = (self.matrix.columns() / BLOCK, lengths(self.matrix.columns()));
        // SAFETY: there is room for all rows; the rest is the caller's promise.
        unsafe {
            EstimateRow {
                digits: std::slice::from_raw_parts(self.digits(row).start, blocks),
                blocks: std::slice::from_raw_parts_mut(self.estimates.get().add(row * blocks), blocks),
                lengths: std::slice::from_raw_parts_mut(self.row_lengths.get().add(row * lengths), lengths),
            }
        }
    }

    /// How far the panel's estimate of a row can be off.
    ///
    /// # Safety
    /// The row has been measured.
    #[inline(always)]
    unsafe fn reach(&self, panel: usize, row: usize) -> f32 {
        let count = lengths(self.matrix.columns());
        // SAFETY: the caller's promise.
        let row = unsafe { std::slice::from_raw_parts(self.row_lengths.get().add(row * count), count) };
        reach(&self.lengths[panel * count..][..count], row)
    }
}

/// The first pass: between what each panel's largest products lie.
pub(crate) struct Bound<'a> {
    pub(crate) all: Largest<'a>,
    /// This thread's.
    pub(crate) panels: Range<usize>,
    pub(crate) thread: usize,
}

/// The second pass: the products of panels that may have the largest one.
pub(crate) struct Settle<'a> {
    pub(crate) all: Largest<'a>,
    /// This thread's.
    pub(crate) panels: Range<usize>,
    pub(crate) thread: usize,
    pub(crate) threads: usize,
}

// Whoever makes the passes answers for the pointers: all rows are prepared and measured, every thread has panels and a number
// of its own, and all have done the first pass before any begins the second.
impl Kernel for Bound<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        let Largest { matrix, rows, at_most, at_least, .. } = self.all;
        // SAFETY: see above.
        unsafe {
            let at_least = at_least.get().add(self.thread * rows);
            (0..rows).for_each(|row| *at_least.add(row) = f32::NEG_INFINITY);
            for panel in self.panels.clone() {
                let mut row = 0;
                while row < rows {
                    let count = estimate_rows::<S>(rows - row);
                    let function = estimate_function::<S>(matrix.weight_type(), count);
                    let mut largest = [0.0; TILE_ROWS];
                    function(&EstimateCall {
                        panel: matrix.panel(panel),
                        columns: matrix.columns(),
                        outputs: outputs(matrix, panel).1,
                        rows: self.all.estimates(row),
                        ahead: self.next_panel(panel, row..row + count),
                        largest: largest.as_mut_ptr(),
                    });
                    for (row, estimate) in (row..row + count).zip(largest) {
                        let reach = self.all.reach(panel, row);
                        *at_most.row(row).add(panel) = estimate + reach;
                        // Not where nothing is known. Rarely, as threads share the line.
                        if estimate - reach > *at_least.add(row) {
                            *at_least.add(row) = estimate - reach;
                        }
                    }
                    row += count;
                }
            }
        }
    }
}

impl Bound<'_> {
    /// The share of a tile of `rows` in what tiles of this panel fetch.
    #[inline(always)]
    fn next_panel(&self, panel: usize, rows: Range<usize>) -> Stretch {
        if panel + 1 >= self.panels.end {
            return Stretch::NONE;
        }
        let lines = self.all.matrix.panel_bytes().div_ceil(64);
        let (first, last) = (lines * rows.start / self.all.rows, lines * rows.end / self.all.rows);
        let start = self.all.matrix.panel(panel + 1).wrapping_add(first * 64);
        Stretch { start, lines: last - first }
    }
}

impl Kernel for Settle<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        let rows = self.all.rows;
        // SAFETY: as above.
        unsafe {
            self.found().fill(Found::NOTHING);
            for first in (0..rows).step_by(TILE_ROWS) {
                let tile = first..rows.min(first + TILE_ROWS);
                let mut least = [f32::NEG_INFINITY; TILE_ROWS];
                for (least, row) in least.iter_mut().zip(tile.clone()) {
                    *least = self.at_least(row);
                }
                for panel in self.panels.clone() {
                    let is_doubtful = |row: &usize| {
                        let at_most = *self.all.at_most.row(*row).add(panel);
                        // No number where nothing is known.
                        at_most >= least[*row - first] || at_most.is_nan()
                    };
                    let mut doubtful = tile.clone().filter(is_doubtful);
                    match (doubtful.next(), doubtful.next()) {
                        (None, _) => {}
                        (Some(row), None) => self.compute::<S>(panel, row..row + 1),
                        // A tile of all takes about as long as two of one.
                        (Some(_), Some(_)) => self.compute::<S>(panel, tile.clone()),
                    }
                }
            }
        }
    }
}

impl Settle<'_> {
    /// What the row's largest product is at least.
    #[inline(always)]
    unsafe fn at_least(&self, row: usize) -> f32 {
        // SAFETY: as in `run`.
        let of = |thread: usize| unsafe { *self.all.at_least.get().add(thread * self.all.rows + row) };
        (0..self.threads).map(of).fold(f32::NEG_INFINITY, f32::max)
    }

    /// This thread's.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // `run` passes the promise on, and takes one at a time
    unsafe fn found(&self) -> &mut [Found] {
        let Largest { rows, found, .. } = self.all;
        // SAFETY: as in `run`.
        unsafe { std::slice::from_raw_parts_mut(found.get().add(self.thread * rows), rows) }
    }

    #[inline(always)]
    unsafe fn compute<S: Simd16>(&self, panel: usize, rows: Range<usize>) {
        let matrix = self.all.matrix;
        let mut products = [[0.0; PANEL_ROWS]; TILE_ROWS];
        // SAFETY: as in `run`; block-wise weights read no floats, and a tile has room for its results.
        unsafe {
            let call = TileCall {
                panel: matrix.panel(panel),
                columns: matrix.columns(),
                resumes: false,
                digits: self.all.digits(rows.start),
                floats: Strided { start: std::ptr::null(), stride: 0 },
                out: products.as_mut_ptr().cast(),
                ahead: Stretch::NONE,
            };
            column_runs::<S>(matrix, rows.len(), (call, Form::Digits), None);
            let (first, count) = outputs(matrix, panel);
            for (found, products) in self.found()[rows].iter_mut().zip(&products) {
                found.take(first, &products[..count]);
            }
        }
    }
}
