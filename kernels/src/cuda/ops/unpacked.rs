//! The room in which wide products have block-wise matrices as rows of f16: sizes only.

use super::super::matrix::{CudaMatrix, Format};
use super::super::tiles::format_of;
use crate::cpu::block::WeightType;

/// Columns that a wide product multiplies at once: unpacked rows are whole runs.
pub(super) const RUN: usize = 64;
/// Where a matrix may begin.
const ALIGNED: usize = 256;
/// The halves of a gated product are needed together; of other projections as many as fit, one after another.
const TOGETHER: usize = 2;

/// Grows with every matrix that may be unpacked, so that any two of them fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UnpackRoom {
    largest: usize,
}

impl UnpackRoom {
    /// For matrices that are not loaded yet, as (type, [rows, columns]).
    pub(super) fn of(matrices: impl IntoIterator<Item = (WeightType, [usize; 2])>) -> Self {
        matrices.into_iter().fold(UnpackRoom::default(), |room, (weight_type, shape)| {
            room.with(unpacked_bytes(format_of(weight_type).0, shape))
        })
    }

    pub(super) fn with(self, unpacked_bytes: usize) -> Self {
        UnpackRoom { largest: self.largest.max(unpacked_bytes) }
    }

    pub(super) fn bytes(self) -> usize {
        TOGETHER * self.largest
    }

    /// How many matrices, from the first on, fit together; given what each takes.
    pub(super) fn fitting(self, unpacked_bytes: impl Iterator<Item = usize>) -> usize {
        let mut left = self.bytes();
        let mut take = |bytes| left.checked_sub(bytes).map(|rest| left = rest).is_some();
        unpacked_bytes.take_while(|bytes| take(*bytes)).count()
    }
}

/// What a matrix takes as rows of f16; dense ones are that already.
pub(super) fn unpacked_bytes(format: Format, [rows, columns]: [usize; 2]) -> usize {
    match format {
        Format::Dense => 0,
        _ => (rows * unpacked_stride(columns) * 2).next_multiple_of(ALIGNED),
    }
}

pub(super) fn unpacked_bytes_of(matrix: &CudaMatrix) -> usize {
    unpacked_bytes(matrix.format, [matrix.rows, matrix.columns])
}

/// Of unpacked rows, in elements.
pub(super) fn unpacked_stride(columns: usize) -> usize {
    columns.next_multiple_of(RUN)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Matrix = (WeightType, [usize; 2]);

    /// A layer's projections, and in how many parts at a time each is unpacked.
    fn check(layer: &[(&[Matrix], &[usize])]) -> UnpackRoom {
        let room = UnpackRoom::of(layer.iter().flat_map(|(projection, _)| projection.iter().copied()));
        for (projection, expected) in layer {
            let bytes: Vec<usize> =
                projection.iter().map(|(kind, shape)| unpacked_bytes(format_of(*kind).0, *shape)).collect();
            let (mut rest, mut found) = (bytes.as_slice(), Vec::new());
            while !rest.is_empty() {
                let (run, others) = rest.split_at(room.fitting(rest.iter().copied()));
                assert!(run.iter().sum::<usize>() <= room.bytes(), "{projection:?}");
                assert!(!run.is_empty(), "{projection:?}: {room:?}");
                found.push(run.len());
                rest = others;
            }
            assert_eq!(found, *expected, "{projection:?}");
        }
        room
    }

    #[test]
    fn every_projection_of_a_layer_finds_room() {
        use WeightType::{F16, Q4_K, Q8_0};
        // Grouped-query attention beside a large MLP: gate and up are the largest.
        let room = check(&[
            (&[(Q4_K, [4096, 4096]), (Q4_K, [1024, 4096]), (Q4_K, [1024, 4096])], &[3]),
            (&[(Q4_K, [4096, 4096])], &[1]),
            (&[(Q4_K, [14_336, 4096]), (Q4_K, [14_336, 4096])], &[2]),
            (&[(Q4_K, [4096, 14_336])], &[1]),
        ]);
        assert_eq!(room.bytes(), 2 * 14_336 * 4096 * 2);
        // Gate and up take none, and the one below does.
        let room = check(&[
            (&[(F16, [64, 64]), (F16, [32, 64]), (F16, [32, 64])], &[3]),
            (&[(F16, [96, 64]), (F16, [96, 64])], &[2]),
            (&[(Q8_0, [64, 96])], &[1]),
        ]);
        assert!(room.bytes() >= 64 * 128 * 2, "{room:?}");
        // Every query head has keys of its own, and the MLP is small.
        check(&[
            (&[(Q8_0, [2048, 2048]), (Q8_0, [2048, 2048]), (Q8_0, [2048, 2048])], &[2, 1]),
            (&[(Q8_0, [2048, 2048])], &[1]),
            (&[(Q8_0, [512, 2048]), (Q8_0, [512, 2048])], &[2]),
            (&[(Q8_0, [2048, 512])], &[1]),
        ]);
    }

    #[test]
    fn dense_matrices_take_no_room() {
        assert_eq!(UnpackRoom::of([(WeightType::F16, [64, 64]), (WeightType::F32, [64, 64])]).bytes(), 0);
    }
}
