//! What a product's weights ask of its input, and how much room that takes.

use super::LinearInput;
use super::cut::SHARED_ROWS;
use crate::cpu::block::BlockFormat;
use crate::cpu::digits::sizes::{ActivationSizes, FormColumns, PreparedRows};
use crate::cpu::head::Head;
use crate::cpu::isa::Isa;
use crate::cpu::linear::multiply::Weights;
use crate::cpu::pack::PackedMatrix;

/// The columns of a model's widest inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputColumns {
    /// Of block-wise weights.
    pub blocks: usize,
    /// Of dense ones.
    pub dense: usize,
    /// Of what is normalised first.
    pub normed: usize,
    /// Of a head that is estimated.
    pub estimated: usize,
}

impl InputColumns {
    /// So that they are no less than those of the weights.
    pub fn add(&mut self, weights: &PackedMatrix) {
        let is_dense = BlockFormat::of(weights.weight_type()).is_none();
        let columns = if is_dense { &mut self.dense } else { &mut self.blocks };
        *columns = weights.columns().max(*columns);
    }

    pub fn add_head(&mut self, head: &Head) {
        self.add(head.matrix());
        if head.is_estimated() {
            self.estimated = head.matrix().columns().max(self.estimated);
        }
    }

    /// The most room that products with up to `rows` rows take.
    pub(crate) fn sizes(self, rows: usize, (isa, threads): (Isa, usize)) -> ActivationSizes {
        let blocks = rows.max(rows.min(SHARED_ROWS - 1) * threads);
        let wide = if isa.has_matrix_unit() { rows } else { 0 };
        let read = PreparedRows { blocks, wide, floats: blocks };
        let read = ActivationSizes::of(read, FormColumns { digits: self.blocks, floats: self.dense });
        let normed = PreparedRows { blocks: 0, wide: 0, floats: threads };
        read.max(ActivationSizes::of(normed, FormColumns { digits: 0, floats: self.normed }))
    }
}

/// The forms of the input that the weights read.
#[derive(Clone, Copy)]
pub(super) struct Needs {
    pub(super) digits: bool,
    /// Some quants have more than 4 bits, or lie in two planes.
    pub(super) large_quants: bool,
    pub(super) floats: bool,
    /// Some weights are dense.
    pub(super) dense: bool,
}

impl Needs {
    /// Panics when the input does not fit the weights or the norm.
    pub(super) fn of(weights: Weights<'_>, input: LinearInput<'_>, width: usize) -> Self {
        if let Some(norm) = input.norm {
            assert_eq!(norm.weight.len(), width, "width of the norm's weight");
        }
        let floats = input.norm.is_some();
        let mut needs = Self { digits: false, large_quants: false, floats, dense: false };
        let mut add = |matrix: &PackedMatrix| {
            assert_eq!(matrix.columns(), width, "columns of the weights");
            if let Some(format) = BlockFormat::of(matrix.weight_type()) {
                needs.digits = true;
                needs.large_quants |= format.bits > 4 || format.is_spread();
            } else {
                needs.floats = true;
                needs.dense = true;
            }
        };
        match weights {
            Weights::Stack { parts, .. } => parts.iter().for_each(|part| add(part)),
            Weights::Gated { gate, up, .. } => [gate, up].into_iter().for_each(add),
        }
        needs
    }

    /// Of an input of `width`.
    pub(super) fn columns(self, width: usize) -> FormColumns {
        FormColumns {
            digits: if self.digits { width } else { 0 },
            floats: if self.floats { width } else { 0 },
        }
    }
}
