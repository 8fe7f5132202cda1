//! One thread's part of a product: panels of weights (`shares`) and all rows of activations, or of many rows its own and
//! all panels.
//!
//! Rows are taken in blocks that all panels pass; inside a block, tile by tile, a part of the panel stays in the
//! first cache. A matrix unit takes a whole block of rows as one tile.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::expand::Expanded;
use super::finish::{Store, store, store_gated};
use super::matrix_unit::MatrixCode;
use super::runs::column_runs;
use super::shares::Panels;
use super::taken::Taken;
use super::tile::{Strided, TileCall};
use super::wide::GROUP_ROWS;
use super::wide_tile::{self, WideCall};
use crate::cpu::activation::Activation;
use crate::cpu::ahead::{Left, Stretch};
use crate::cpu::digits::wide::group_sizes;
use crate::cpu::digits::{DigitBlock, Form};
use crate::cpu::pack::{PANEL_ROWS, PackedMatrix};
use crate::cpu::rows::SharedRows;
use crate::cpu::simd::{Kernel, Simd16};

/// The most rows of a block: every block streams the panels, and unpacks them, once more. Activations beyond the second
/// cache cost nothing, since tiles read them in order.
pub(crate) const ROW_BLOCK: usize = 256;
/// The most rows of a tile.
pub(crate) const TILE_ROWS: usize = 4;
/// Rows of a block for a matrix unit, which expands a panel for every block: with 1536 columns 1.5 MiB.
const WIDE_ROW_BLOCK: usize = 512;

/// What the activations are multiplied with.
#[derive(Clone, Copy)]
pub(crate) enum Weights<'a> {
    /// Matrices whose outputs stand side by side.
    Stack { parts: &'a [&'a PackedMatrix], bias: Option<&'a [f32]>, mode: Store },
    /// activation(gate x) * (up x), for two matrices of the same shape.
    Gated { gate: &'a PackedMatrix, up: &'a PackedMatrix, activation: Activation },
}

/// A thread's part.
pub(crate) struct Multiply<'a> {
    pub(crate) weights: Weights<'a>,
    pub(crate) rows: Taken<'a>,
    /// Of them, those that are multiplied.
    pub(crate) range: Range<usize>,
    pub(crate) prepared: Prepared,
    pub(crate) out: SharedRows,
    /// This thread's, of all that stand side by side. Others who have them have other rows; those that are shared out as
    /// they are taken are for one block of rows.
    pub(crate) panels: Panels<'a>,
    /// To be fetched by the tiles.
    pub(crate) ahead: Option<Left<'a>>,
}

/// Rows of activations, prepared.
#[derive(Clone, Copy)]
pub(crate) enum Prepared {
    /// For block-wise weights and for dense ones; not read for what is not there.
    Rows { digits: Strided<DigitBlock>, form: Form, floats: Strided<f32> },
    /// For a matrix unit, in whole groups. All weights are block-wise.
    Wide { code: MatrixCode, digits: *const i8, scales: *const f32 },
}

/// Rows of a block, when there are any: whole tiles, about as many in each.
fn row_block(rows: usize) -> usize {
    rows.div_ceil(rows.div_ceil(ROW_BLOCK)).next_multiple_of(TILE_ROWS)
}

/// Results of a panel.
#[repr(align(64))]
struct Buffer {
    _results: [f32; WIDE_ROW_BLOCK * PANEL_ROWS],
}

/// Of a thread's stack, what products use: results of a stack and of a gated pair, and a panel expanded in each way.
/// Other operations use less.
pub(crate) const STACK_BYTES: usize =
    3 * size_of::<Buffer>() + size_of::<Expanded>() + wide_tile::MEMORY_BYTES;

// The rows of `range` are prepared in the forms that the weights need, the output has them, and no other thread is
// given one of these panels for one of these rows: whoever makes the part answers for that.
impl Kernel for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        // SAFETY: see above.
        unsafe {
            let block = match self.prepared {
                Prepared::Rows { .. } => row_block(self.range.len()),
                Prepared::Wide { code, .. } => {
                    (code.configure)();
                    WIDE_ROW_BLOCK
                }
            };
            debug_assert!(
                !self.panels.is_dealt() || self.range.len() <= block,
                "later blocks would find none"
            );
            for first in self.range.clone().step_by(block) {
                let rows = first..self.range.end.min(first + block);
                match self.weights {
                    Weights::Stack { parts, bias, mode } => {
                        self.stack::<S>(rows, (parts, bias), mode);
                    }
                    Weights::Gated { gate, up, activation } => {
                        self.gated::<S>(rows, (gate, up), activation);
                    }
                }
            }
            if let Prepared::Wide { code, .. } = self.prepared {
                (code.release)();
            }
        }
    }
}

impl Multiply<'_> {
    #[inline(always)]
    unsafe fn stack<S: Simd16>(
        &self,
        rows: Range<usize>,
        (parts, bias): (&[&PackedMatrix], Option<&[f32]>),
        mode: Store,
    ) {
        // SAFETY: as in `run`; results lie inside the matrix' rows, where no other thread writes those of `rows`.
        unsafe {
            let mut y = MaybeUninit::uninit();
            for panel in self.panels.clone() {
                let (part, panel, column) = place(parts, panel);
                let (first, count) = outputs(part, panel);
                let bias = bias.map(|bias| bias[column + first..][..count].as_ptr());
                let y = self.panel::<S>(part, panel, &rows, &mut y);
                for (m, row) in rows.clone().enumerate() {
                    let out = self.out.row(self.rows.output(row)).add(column + first);
                    store::<S>(y.add(m * PANEL_ROWS), count, bias, mode, out);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn gated<S: Simd16>(
        &self,
        rows: Range<usize>,
        (gate, up): (&PackedMatrix, &PackedMatrix),
        activation: Activation,
    ) {
        // SAFETY: as in `stack`.
        unsafe {
            let (mut g, mut u) = (MaybeUninit::uninit(), MaybeUninit::uninit());
            for panel in self.panels.clone() {
                let (first, count) = outputs(gate, panel);
                let g = self.panel::<S>(gate, panel, &rows, &mut g);
                let u = self.panel::<S>(up, panel, &rows, &mut u);
                for (m, row) in rows.clone().enumerate() {
                    let at = m * PANEL_ROWS;
                    let out = self.out.row(self.rows.output(row)).add(first);
                    store_gated::<S>(activation, (g.add(at), u.add(at)), count, out);
                }
            }
        }
    }

    /// A block of `rows` times a panel: 32 results a row, in `out`.
    ///
    /// # Safety
    /// As in `run`; no more rows than a block has.
    #[inline(always)]
    unsafe fn panel<S: Simd16>(
        &self,
        matrix: &PackedMatrix,
        panel: usize,
        rows: &Range<usize>,
        out: &mut MaybeUninit<Buffer>,
    ) -> *const f32 {
        let (panel, columns, out) = (matrix.panel(panel), matrix.columns(), out.as_mut_ptr().cast());
        let weight_type = matrix.weight_type();
        // SAFETY: as in `run`; `out` has room for the rows of a block, and for those that fill up its last group;
        // blocks are whole groups.
        unsafe {
            match self.prepared {
                Prepared::Rows { digits, form, floats } => {
                    let call = TileCall {
                        panel,
                        columns,
                        resumes: false,
                        digits: Strided { start: digits.row(rows.start), ..digits },
                        floats: Strided { start: floats.row(rows.start), ..floats },
                        out,
                        ahead: Stretch::NONE,
                    };
                    column_runs::<S>(matrix, rows.len(), (call, form), self.ahead);
                }
                Prepared::Wide { code, digits, scales } => {
                    let (bytes, numbers) = group_sizes(columns);
                    (code.tile)(&WideCall {
                        expand: (code.expand)(weight_type),
                        panel,
                        columns,
                        digits: digits.add(rows.start / GROUP_ROWS * bytes),
                        scales: scales.add(rows.start / GROUP_ROWS * numbers),
                        groups: rows.len().div_ceil(GROUP_ROWS),
                        out,
                    });
                }
            }
        }
        out
    }
}

/// The first output of a panel, and how many it has.
pub(super) fn outputs(matrix: &PackedMatrix, panel: usize) -> (usize, usize) {
    let first = panel * PANEL_ROWS;
    (first, (matrix.rows() - first).min(PANEL_ROWS))
}

/// The matrix that a panel of all panels side by side belongs to, which of its panels it is, and its first output.
fn place<'a>(parts: &[&'a PackedMatrix], mut panel: usize) -> (&'a PackedMatrix, usize, usize) {
    let mut column = 0;
    for part in parts {
        if panel < part.panels() {
            return (part, panel, column);
        }
        panel -= part.panels();
        column += part.rows();
    }
    unreachable!("a panel of no matrix")
}

impl Weights<'_> {
    /// A share of all panels that stand side by side, by their bytes.
    pub(crate) fn share(self, (id, shares): (usize, usize)) -> Range<usize> {
        let start = |id: usize| match self {
            Self::Stack { parts, .. } => {
                let total: usize = parts.iter().map(|part| part.bytes()).sum();
                starts_before(parts, total * id / shares)
            }
            Self::Gated { gate, .. } => gate.panels() * id / shares,
        };
        start(id)..start(id + 1)
    }
}

/// Of the panels of all parts those whose first byte lies before `byte`.
fn starts_before(parts: &[&PackedMatrix], byte: usize) -> usize {
    let mut before = 0;
    let mut panels = 0;
    for part in parts {
        panels += byte.saturating_sub(before).div_ceil(part.panel_bytes()).min(part.panels());
        before += part.bytes();
    }
    panels
}
