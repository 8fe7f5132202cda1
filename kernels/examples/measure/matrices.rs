//! Weights and activations of no model, for examples that print rates.

use ostro_kernels::cpu::block::WeightType;
use ostro_kernels::cpu::head::Head;
use ostro_kernels::cpu::ops::Cpu;
use ostro_kernels::cpu::pack::{MatrixBytes, PackedMatrix};
use ostro_kernels::cpu::rows::Rows;

fn random_bytes(weight_type: WeightType, elements: usize) -> Vec<u8> {
    let bytes = weight_type.bytes_of(elements).expect("whole blocks");
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // No f16 or f32 made of such bytes is infinite, NaN or subnormal.
        (state >> 56) as u8 & 0x3B | 0x08
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// The matrix of logits.
#[allow(dead_code)] // not all examples have one
pub(crate) fn head(cpu: &mut Cpu, weight_type: WeightType, rows: usize, columns: usize) -> Head {
    let bytes = random_bytes(weight_type, rows * columns);
    Head::pack(MatrixBytes { weight_type, rows, columns, bytes: &bytes }, cpu).expect("a good matrix")
}

pub(crate) fn matrix(cpu: &mut Cpu, weight_type: WeightType, rows: usize, columns: usize) -> PackedMatrix {
    let bytes = random_bytes(weight_type, rows * columns);
    PackedMatrix::pack(MatrixBytes { weight_type, rows, columns, bytes: &bytes }, cpu).expect("a good matrix")
}

pub(crate) fn activations(rows: usize, width: usize) -> Rows {
    let mut x = Rows::new(rows, width);
    for i in 0..rows {
        x.row_mut(i).iter_mut().enumerate().for_each(|(k, x)| *x = ((i * 7 + k * 13) % 29) as f32 - 14.0);
    }
    x
}
