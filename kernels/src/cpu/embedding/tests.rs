use half::f16;

use super::encode::Pair;
use super::*;
use crate::cpu::block::WeightType;
use crate::cpu::block::tests::Random;
use crate::cpu::rows::Rows;

const COLUMNS: usize = 224;

/// As ggml's reference quantisers: a scale for 32 numbers, the nearest quants.
fn rounded(weight_type: WeightType, numbers: &[f32]) -> Vec<u8> {
    let largest =
        |block: &[f32]| block.iter().copied().fold(0.0, |a: f32, b| if b.abs() > a.abs() { b } else { a });
    let mut out = Vec::new();
    for block in numbers.chunks(32) {
        if weight_type == WeightType::Q8_0 {
            let d = largest(block).abs() / 127.0;
            out.extend(f16::from_f32(d).to_le_bytes());
            out.extend(block.iter().map(|x| (x / d).round() as i8 as u8));
            continue;
        }
        let (half, last) = if weight_type == WeightType::Q4_0 { (8.0, 15) } else { (16.0, 31) };
        let d = largest(block) / -half;
        let q: Vec<u32> = block.iter().map(|x| ((x / d + half + 0.5) as u32).min(last)).collect();
        out.extend(f16::from_f32(d).to_le_bytes());
        if weight_type == WeightType::Q5_0 {
            let fifth = q.iter().enumerate().fold(0, |bits, (i, q)| bits | (q >> 4) << i);
            out.extend(u32::to_le_bytes(fifth));
        }
        out.extend((0..16).map(|i| (q[i] & 15 | (q[i + 16] & 15) << 4) as u8));
    }
    out
}

fn matrix(weight_type: WeightType, bytes: &[u8]) -> MatrixBytes<'_> {
    let rows = bytes.len() / weight_type.bytes_of(COLUMNS).unwrap();
    MatrixBytes { weight_type, rows, columns: COLUMNS, bytes }
}

fn packed(head: MatrixBytes<'_>, cpu: &mut Cpu) -> PackedMatrix {
    PackedMatrix::pack(head, cpu).unwrap()
}

fn assert_rows_are_those_of(table: MatrixBytes<'_>, loaded: &EmbeddingTable, head: &PackedMatrix, isa: Isa) {
    let mut want = vec![0.0; table.rows * COLUMNS];
    table.weight_type.dequantise(table.bytes, &mut want);
    let mut got = [0.0; COLUMNS];
    for (row, want) in want.chunks(COLUMNS).enumerate() {
        Embeddings { table: Some(loaded), head }.read_row(row, isa, &mut got);
        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&got), bits(want), "row {row}");
    }
}

#[test]
fn a_table_that_its_head_tells_takes_few_bytes_and_loses_none() {
    let mut random = Random(5);
    let numbers: Vec<f32> = (0..700 * COLUMNS).map(|_| random.activation() * 0.02).collect();
    let head = rounded(WeightType::Q8_0, &numbers);
    let head = matrix(WeightType::Q8_0, &head);
    for isa in Isa::supported() {
        let mut cpu = Cpu::new(isa, 3);
        let packed_head = packed(head, &mut cpu);
        for weight_type in [WeightType::Q4_0, WeightType::Q5_0] {
            let table = rounded(weight_type, &numbers);
            let table = matrix(weight_type, &table);
            let loaded = EmbeddingTable::load(table, head, &mut cpu).unwrap();
            let share = loaded.bytes() as f64 / table.bytes.len() as f64;
            assert!(share < 0.15, "{weight_type}: {share:.3} of the table's bytes");
            assert_rows_are_those_of(table, &loaded, &packed_head, cpu.isa());
        }
    }
}

#[test]
fn any_other_table_is_packed() {
    let mut random = Random(6);
    let mut cpu = Cpu::new(Isa::detect(), 2);
    let head = random.weights(WeightType::Q8_0, 70 * COLUMNS);
    let head = matrix(WeightType::Q8_0, &head);
    for weight_type in [WeightType::Q5_0, WeightType::Q5_1, WeightType::F16] {
        let table = random.weights(weight_type, 70 * COLUMNS);
        let table = matrix(weight_type, &table);
        let loaded = EmbeddingTable::load(table, head, &mut cpu).unwrap();
        assert!(loaded.bytes() >= table.bytes.len(), "{weight_type}");
        assert_rows_are_those_of(table, &loaded, &packed(head, &mut cpu), cpu.isa());
    }
}

/// Whatever the files hold: here quants and scales that have nothing to do with each other.
#[test]
fn deriving_loses_nothing_of_a_table_that_is_unlike_its_head() {
    let mut random = Random(7);
    let mut cpu = Cpu::new(Isa::detect(), 2);
    for head_type in [WeightType::Q8_0, WeightType::Q4_1, WeightType::F32] {
        let head = random.weights(head_type, 90 * COLUMNS);
        let head = matrix(head_type, &head);
        let packed_head = packed(head, &mut cpu);
        for weight_type in [WeightType::Q4_0, WeightType::Q5_0] {
            let table = random.weights(weight_type, 90 * COLUMNS);
            let table = matrix(weight_type, &table);
            let pair = Pair::of(table, head).unwrap();
            let encoded = pair.encode_all(usize::MAX, &mut cpu).unwrap().unwrap();
            let loaded = EmbeddingTable(Table::Derived(DerivedTable::new(pair.rounding, encoded)));
            assert_rows_are_those_of(table, &loaded, &packed_head, cpu.isa());
        }
    }
}

#[test]
fn a_head_of_another_shape_tells_nothing() {
    let mut random = Random(8);
    let mut cpu = Cpu::new(Isa::detect(), 2);
    let numbers: Vec<f32> = (0..64 * COLUMNS).map(|_| random.unit()).collect();
    let (table, head) = (rounded(WeightType::Q5_0, &numbers), rounded(WeightType::Q8_0, &numbers));
    let table = matrix(WeightType::Q5_0, &table);
    let whole = matrix(WeightType::Q8_0, &head);
    let shorter = matrix(WeightType::Q8_0, &head[..head.len() / 2]);
    let narrower = MatrixBytes { columns: COLUMNS / 7, rows: 64 * 7, ..whole };
    assert!(Pair::of(table, whole).is_some());
    for head in [shorter, narrower, MatrixBytes { rows: 63, ..whole }] {
        assert!(Pair::of(table, head).is_none(), "{} x {}", head.rows, head.columns);
    }
    let cut = MatrixBytes { bytes: &table.bytes[1..], ..table };
    assert!(matches!(EmbeddingTable::load(cut, whole, &mut cpu), Err(PackError::Bytes { .. })));
}

#[test]
fn the_first_scale_that_is_not_finite_is_told() {
    let mut random = Random(9);
    let mut cpu = Cpu::new(Isa::detect(), 2);
    let numbers: Vec<f32> = (0..500 * COLUMNS).map(|_| random.unit()).collect();
    let (mut table, head) = (rounded(WeightType::Q5_0, &numbers), rounded(WeightType::Q8_0, &numbers));
    let row_bytes = WeightType::Q5_0.bytes_of(COLUMNS).unwrap();
    for row in [499, 333, 401] {
        table[row * row_bytes + 22..][..2].copy_from_slice(&f16::INFINITY.to_le_bytes());
    }
    let loaded =
        EmbeddingTable::load(matrix(WeightType::Q5_0, &table), matrix(WeightType::Q8_0, &head), &mut cpu);
    assert_eq!(loaded.unwrap_err(), PackError::NotFinite { offset: 333 * row_bytes + 22 });
}

#[test]
fn tokens_are_read_from_a_derived_table() {
    let mut random = Random(10);
    let mut cpu = Cpu::new(Isa::detect(), 2);
    let numbers: Vec<f32> = (0..256 * COLUMNS).map(|_| random.unit()).collect();
    let (bytes, head) = (rounded(WeightType::Q5_0, &numbers), rounded(WeightType::Q8_0, &numbers));
    let (table, head) = (matrix(WeightType::Q5_0, &bytes), matrix(WeightType::Q8_0, &head));
    let loaded = EmbeddingTable::load(table, head, &mut cpu).unwrap();
    assert!(matches!(loaded.0, Table::Derived(_)));
    let head = packed(head, &mut cpu);
    let tokens = [255, 0, 7, 7, 100, 3];
    let mut out = Rows::new(10, COLUMNS);
    cpu.embed(Embeddings { table: Some(&loaded), head: &head }, &tokens, &mut out);
    let mut want = vec![0.0; 256 * COLUMNS];
    WeightType::Q5_0.dequantise(&bytes, &mut want);
    for (i, token) in tokens.into_iter().enumerate() {
        assert_eq!(out.row(i), &want[token as usize * COLUMNS..][..COLUMNS]);
    }
}
