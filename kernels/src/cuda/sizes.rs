//! What weights take on the device, told before they are loaded.

use super::tiles::packed_bytes;
use crate::cpu::block::{BlockFormat, WeightType};

/// Rows of dense matrices begin at multiples of so many columns, as `matrix` places them.
const COLUMNS_ALIGNED: usize = 64;
/// Of an empty buffer.
const BUFFER_BYTES_MIN: usize = 16;

/// Bytes of a matrix: dense ones are f16; block-wise ones are integers of 4 or 8 bits and, beside them, what groups are
/// scaled by, which for K types is 8 bytes for 16 or 32 weights, more than in their files (docs/gpu.md).
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_a_weight_are_those_of_the_page() {
        use WeightType::{Q2_K, Q3_K, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0};
        let page = include_str!("../../../docs/gpu.md");
        let expected = [
            (Q4_0, 4.5),
            (Q4_1, 5.0),
            (Q5_0, 8.5),
            (Q5_1, 9.0),
            (Q8_0, 8.5),
            (Q2_K, 8.0),
            (Q3_K, 8.0),
            (Q4_K, 6.0),
            (Q5_K, 10.0),
            (Q6_K, 12.0),
        ];
        for (weight_type, bits) in expected {
            let bytes = matrix_bytes(weight_type, [4096, 4096]);
            assert_eq!(bytes as f64 * 8.0 / (4096.0 * 4096.0), bits, "{weight_type}");
            assert!(page.contains(&format!(" {weight_type} {bits},")), "{weight_type} {bits}");
        }
    }
}
