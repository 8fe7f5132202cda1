use super::*;
use crate::weights::WeightType;

#[test]
fn matrices_take_what_was_told_before_they_were_packed() {
    let mut backend = CpuBackend::new(Isa::PORTABLE, 1).unwrap();
    for dtype in WeightType::ALL {
        // The second has rows of a panel that is not full.
        for rows in [64, 33] {
            let bytes = vec![0; dtype.bytes_of(rows * 512).unwrap()];
            let tensor = TensorView { name: "matrix", dtype, shape: vec![rows, 512], bytes: &bytes };
            let matrix = backend.load_matrix(&tensor).unwrap();
            assert_eq!(backend.tensor_bytes(&tensor), backend.matrix_bytes(&matrix), "{dtype}, {rows} rows");
        }
    }
}

#[test]
fn vectors_take_what_their_numbers_take() {
    let bytes = [0; 6];
    let tensor = TensorView { name: "norm", dtype: WeightType::F16, shape: vec![3], bytes: &bytes };
    assert_eq!(CpuBackend::new(Isa::PORTABLE, 1).unwrap().tensor_bytes(&tensor), 12);
}
