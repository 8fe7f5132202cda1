use super::*;
use crate::cpu::block::tests::Random;
use crate::cpu::isa::Isa;

#[test]
fn packing_loses_nothing_on_any_instruction_set() {
    Isa::supported().into_iter().for_each(check_all_types);
}

fn check_all_types(isa: Isa) {
    let mut random = Random(3);
    let mut cpu = Cpu::new(isa, 2);
    for weight_type in WeightType::ALL {
        let wide = weight_type.block_elements();
        for (rows, columns) in [(1, wide), (32, 2 * wide), (33, 3 * wide), (95, 5 * wide), (128, wide)] {
            let bytes = random.weights(weight_type, rows * columns);
            let packed =
                PackedMatrix::pack(MatrixBytes { weight_type, rows, columns, bytes: &bytes }, &mut cpu)
                    .unwrap();
            let mut want = vec![0.0; rows * columns];
            weight_type.dequantise(&bytes, &mut want);
            let mut got = vec![0.0; columns];
            for (row, want) in want.chunks(columns).enumerate() {
                packed.dequantise_row(row, &mut got);
                assert_eq!(got, want, "{weight_type}, row {row} of {rows} x {columns}");
            }
        }
    }
}

#[test]
fn panels_take_the_bits_of_the_file() {
    let mut cpu = Cpu::new(Isa::detect(), 1);
    for weight_type in WeightType::ALL {
        let bytes = vec![0; weight_type.bytes_of(64 * 512).unwrap()];
        let packed =
            PackedMatrix::pack(MatrixBytes { weight_type, rows: 64, columns: 512, bytes: &bytes }, &mut cpu)
                .unwrap();
        let more = packed.bytes() as f64 / bytes.len() as f64;
        // The K types' scales of 4 or 6 bits become bytes.
        let expected = match weight_type {
            WeightType::Q2_K => 1.0..1.2,
            WeightType::Q3_K => 1.0..1.04,
            WeightType::Q4_K | WeightType::Q5_K => 1.0..1.03,
            _ => 1.0..1.0001,
        };
        assert!(expected.contains(&more), "{weight_type}: {more}");
    }
}

#[test]
fn wrong_sizes_are_errors() {
    let mut cpu = Cpu::new(Isa::detect(), 1);
    let mut pack = |rows, columns, bytes: usize| {
        let weight_type = WeightType::Q4_0;
        PackedMatrix::pack(MatrixBytes { weight_type, rows, columns, bytes: &vec![0; bytes] }, &mut cpu)
            .map(|_| ())
    };
    assert_eq!(pack(2, 64, 72), Ok(()));
    assert!(matches!(pack(2, 64, 71), Err(PackError::Bytes { .. })));
    assert!(matches!(pack(2, 48, 54), Err(PackError::Columns { .. })));
    assert!(matches!(pack(0, 64, 0), Err(PackError::Empty { .. })));
    assert!(matches!(pack(usize::MAX, 64, 72), Err(PackError::Bytes { .. })));
}

#[test]
fn the_first_number_that_is_not_finite_is_told() {
    let mut cpu = Cpu::new(Isa::detect(), 2);
    let mut bytes = vec![0; WeightType::Q8_0.bytes_of(100 * 64).unwrap()];
    for row in [70, 99, 41] {
        bytes[row * 68 + 34..][..2].copy_from_slice(&half::f16::INFINITY.to_le_bytes());
    }
    let matrix = MatrixBytes { weight_type: WeightType::Q8_0, rows: 100, columns: 64, bytes: &bytes };
    let error = PackedMatrix::pack(matrix, &mut cpu).unwrap_err();
    assert_eq!(error, PackError::NotFinite { offset: 41 * 68 + 34 });
}
