//! What weights take on the device, told before they are loaded.

use super::tiles::packed_bytes;
use crate::cpu::block::{BlockFormat, WeightType};

/// Rows of dense matrices begin at multiples of so many columns, as `matrix` places them.
const COLUMNS_ALIGNED: usize = 64;
/// Of an empty buffer.
const BUFFER_BYTES_MIN: usize = 16;

/// Bytes of a matrix: dense ones are f16, block-wise ones have 4 or 8 bits a weight, whatever their file has.
pub fn matrix_bytes(weight_type: WeightType, [rows, columns]: [usize; 2]) -> usize {
    let buffers = match BlockFormat::of(weight_type) {
        None => [rows * columns.next_multiple_of(COLUMNS_ALIGNED) * 2, 0],
        Some(_) => packed_bytes(weight_type, rows, columns),
    };
    buffers.map(|bytes| bytes.max(BUFFER_BYTES_MIN)).iter().sum()
}

/// Bytes of a norm or a bias, which is f32.
pub fn vector_bytes(length: usize) -> usize {
    (length * size_of::<f32>()).max(BUFFER_BYTES_MIN)
}
