//! Panels of f32, f16 and bf16: column after column, 32 rows each.

use super::PANEL_ROWS;
use crate::cpu::block::WeightType;

pub(super) fn write_row(weight_type: WeightType, row: &[u8], lane: usize, out: &mut [u8]) {
    let size = weight_type.block_bytes();
    for (weight, column) in row.chunks_exact(size).zip(out.chunks_exact_mut(PANEL_ROWS * size)) {
        column[lane * size..][..size].copy_from_slice(weight);
    }
}

pub(super) fn read_row(weight_type: WeightType, panel: &[u8], lane: usize, out: &mut [f32]) {
    let size = weight_type.block_bytes();
    for (column, out) in panel.chunks_exact(PANEL_ROWS * size).zip(out) {
        *out = weight_type.dense_weight(&column[lane * size..][..size]);
    }
}
