//! What a product's weights ask of its input.

use super::LinearInput;
use crate::cpu::block::BlockFormat;
use crate::cpu::linear::multiply::Weights;
use crate::cpu::pack::PackedMatrix;

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
}
