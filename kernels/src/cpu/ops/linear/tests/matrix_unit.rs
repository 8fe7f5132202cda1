//! Matrix units against the vectors: the plain emulation everywhere, AMX where it is.

use super::*;

const BLOCK_WISE: [WeightType; 10] = [
    WeightType::Q4_0,
    WeightType::Q4_1,
    WeightType::Q5_0,
    WeightType::Q5_1,
    WeightType::Q8_0,
    WeightType::Q2_K,
    WeightType::Q3_K,
    WeightType::Q4_K,
    WeightType::Q5_K,
    WeightType::Q6_K,
];

/// All instruction sets with a matrix unit, and the fastest one without.
fn units() -> (Vec<Isa>, Isa) {
    let (mut units, vectors): (Vec<_>, Vec<_>) =
        Isa::supported().into_iter().partition(|isa| isa.matrix_unit().is_some());
    if units.is_empty() {
        eprintln!("skipped: AMX itself, which this processor or system lacks; the emulation is tested");
    }
    units.push(Isa::EMULATED_AMX);
    (units, vectors[vectors.len() - 1])
}

/// The bits, but one NaN for all.
fn comparable(rows: &Rows) -> Vec<Vec<u32>> {
    let canonical = |x: &f32| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() };
    (0..rows.rows()).map(|i| rows.row(i).iter().map(canonical).collect()).collect()
}

/// Compares everything that `run` computes.
fn check(what: &str, threads: &[usize], run: impl Fn(&mut Cpu) -> Rows) {
    let (units, vectors) = units();
    let want = comparable(&run(&mut Cpu::new(vectors, 1)));
    for unit in units {
        for &threads in threads {
            let got = comparable(&run(&mut Cpu::new(unit, threads)));
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                assert!(got == want, "{what}, {unit}, {threads} threads, row {i}");
            }
        }
    }
}

#[test]
fn every_format_and_shape_has_the_bits_of_the_vectors() {
    for weight_type in BLOCK_WISE {
        for &(outputs, columns) in shapes(weight_type) {
            let matrix = Matrix::random(weight_type, outputs, columns, 101).packed;
            let x = random_rows(GROUPED_ROWS + 3, columns, 102);
            check(&format!("{weight_type} {outputs} x {columns}"), &[1, 3], |cpu| {
                product(cpu, &x, &[&matrix])
            });
        }
    }
}

#[test]
fn every_count_of_rows_has_the_bits_of_the_vectors() {
    for (weight_type, columns) in [(WeightType::Q4_1, 96), (WeightType::Q8_0, 800), (WeightType::Q6_K, 512)] {
        let matrix = Matrix::random(weight_type, 45, columns, 111).packed;
        let x = random_rows(70, columns, 112);
        for rows in 1..=70 {
            let x = first_rows(&x, rows);
            check(&format!("{weight_type}, {rows} rows"), &[2], |cpu| product(cpu, &x, &[&matrix]));
        }
    }
}

#[test]
fn blocks_of_zeros_and_of_what_is_not_finite_have_the_bits_of_the_vectors() {
    for weight_type in [WeightType::Q4_0, WeightType::Q5_K, WeightType::Q3_K] {
        let matrix = Matrix::random(weight_type, 40, 512, 121).packed;
        let rows = GROUPED_ROWS + 5;
        let mut x = random_rows(rows, 512, 122);
        x.row_mut(1).fill(0.0);
        x.row_mut(2)[64..96].fill(0.0);
        x.row_mut(3)[500] = f32::INFINITY;
        x.row_mut(9)[0] = f32::NAN;
        x.row_mut(10).iter_mut().for_each(|x| *x *= 1e-32);
        x.row_mut(20)[7] = f32::MAX;
        check(weight_type.name(), &[1], |cpu| product(cpu, &x, &[&matrix]));
        let out = product(&mut Cpu::new(Isa::EMULATED_AMX, 1), &x, &[&matrix]);
        for i in 0..rows {
            assert_eq!(out.row(i).iter().all(|y| y.is_nan()), i == 3 || i == 9, "row {i}");
            assert_eq!(out.row(i).iter().all(|y| *y == 0.0), i == 1 || i == 10, "row {i}");
        }
    }
}

#[test]
fn extreme_digits_meet_extreme_weights_exactly() {
    // Every quant at its ends, and activations whose digits are all 127, or -128 and the like.
    for weight_type in BLOCK_WISE {
        let elements = 33 * 256;
        for byte in [0x00, 0xFF, 0x80, 0x7F] {
            let mut bytes = vec![byte; weight_type.bytes_of(elements).unwrap()];
            // As f16 it would be infinite, NaN or tiny: d and m lie at fixed places that random blocks fill well.
            let random = Random(131).weights(weight_type, elements);
            for (block, random) in
                bytes.chunks_mut(weight_type.block_bytes()).zip(random.chunks(weight_type.block_bytes()))
            {
                for at in scale_bytes(weight_type) {
                    block[at] = random[at];
                }
            }
            let mut pool = crate::cpu::pool::Pool::new(1);
            let matrix = PackedMatrix::pack(weight_type, 33, 256, &bytes, &mut pool).unwrap();
            let mut x = random_rows(GROUPED_ROWS, 256, 132);
            x.row_mut(0).fill(1.0);
            x.row_mut(1).fill(-1.0);
            for (k, x) in x.row_mut(2).iter_mut().enumerate() {
                *x = if k % 32 == 0 { LARGEST } else { -128.0 };
            }
            for (k, x) in x.row_mut(3).iter_mut().enumerate() {
                *x = if k % 2 == 0 { LARGEST } else { -LARGEST };
            }
            check(&format!("{weight_type} of {byte:#x}"), &[1], |cpu| product(cpu, &x, &[&matrix]));
        }
    }
}

/// Where a block's f16 scales lie.
fn scale_bytes(weight_type: WeightType) -> std::ops::Range<usize> {
    match weight_type {
        WeightType::Q4_0 | WeightType::Q5_0 | WeightType::Q8_0 => 0..2,
        WeightType::Q4_1 | WeightType::Q5_1 | WeightType::Q4_K | WeightType::Q5_K => 0..4,
        WeightType::Q2_K => 80..84,
        WeightType::Q3_K => 108..110,
        _ => 208..210,
    }
}

#[test]
fn norm_bias_residual_and_gates_have_the_bits_of_the_vectors() {
    let count = GROUPED_ROWS + 11;
    let x = random_rows(count, 256, 141);
    let weight: Vec<f32> = random_rows(1, 256, 142).row(0).to_vec();
    let bias: Vec<f32> = random_rows(1, 103, 143).row(0).to_vec();
    let residual = random_rows(count, 103, 144);
    let input = LinearInput { x: &x, norm: Some(Norm { weight: &weight, eps: 1e-5 }) };
    let first = Matrix::random(WeightType::Q4_K, 70, 256, 145).packed;
    let second = Matrix::random(WeightType::Q6_K, 33, 256, 146).packed;
    check("a stack with bias and residual", &[1, 2, 5], |cpu| {
        let mut out = first_rows(&residual, count);
        let weights = LinearWeights { parts: &[&first, &second], bias: Some(&bias) };
        cpu.linear(input, weights, &mut out, Store::Accumulate);
        out
    });
    let up = Matrix::random(WeightType::Q5_0, 70, 256, 147).packed;
    for activation in [Activation::Silu, Activation::Gelu] {
        check("a gated pair", &[1, 3], |cpu| {
            let mut out = Rows::new(count, 70);
            cpu.gated_linear(input, GatedWeights { gate: &first, up: &up, activation }, &mut out);
            out
        });
    }
    let rows: Vec<u32> = (0..=GROUPED_ROWS).map(|i| (i * 7 % count) as u32).collect();
    check("listed rows", &[2], |cpu| {
        let mut out = Rows::new(rows.len(), 70);
        cpu.linear_rows(input, &rows, LinearWeights { parts: &[&first], bias: None }, &mut out);
        out
    });
    let dense = Matrix::random(WeightType::F16, 33, 256, 148).packed;
    check("block-wise beside dense", &[2], |cpu| product(cpu, &x, &[&first, &dense]));
}
