//! Wide products against their contract in plain numbers: the plain emulation everywhere, AMX where it is.

use half::f16;

use super::*;
use crate::cpu::block::{Block, BlockFormat, Zero};
use crate::cpu::linear::wide::{STEP, Segments};
use crate::cpu::pack::MatrixBytes;

fn block_wise() -> impl Iterator<Item = WeightType> {
    WeightType::ALL.into_iter().filter(|weight_type| BlockFormat::of(*weight_type).is_some())
}

fn every(rows: usize) -> Vec<u32> {
    (0..rows as u32).collect()
}

fn wide_product(cpu: &mut Cpu, x: &Rows, parts: &[&PackedMatrix]) -> Rows {
    let all = every(x.rows());
    let mut out = Rows::new(x.rows(), parts.iter().map(|part| part.rows()).sum());
    let input = LinearInput { x, norm: None, split: Some(Split { generated: &[], prompt: &all }) };
    cpu.linear(input, LinearWeights { parts, bias: None }, &mut out, Store::Replace);
    out
}

/// The bits, but one NaN for all.
fn comparable(rows: &Rows) -> Vec<Vec<u32>> {
    let canonical = |x: &f32| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() };
    (0..rows.rows()).map(|i| rows.row(i).iter().map(canonical).collect()).collect()
}

/// An integer's digits.
fn digits(whole: i32) -> (i32, i32) {
    let low = i32::from(whole as i8);
    ((whole - low) / 256, low)
}

/// A row of weights as the contract makes it: integers, and 256 times the scale of each segment.
struct WideWeights {
    whole: Vec<i32>,
    scales: Vec<f32>,
}

impl WideWeights {
    fn of(weight_type: WeightType, bytes: &[u8], columns: usize) -> Self {
        let format = BlockFormat::of(weight_type).unwrap();
        let blocks: Vec<Block> =
            bytes.chunks(weight_type.block_bytes()).map(|bytes| Block::decode(weight_type, bytes)).collect();
        // d, m and the quant of a column.
        let parts = |column: usize| {
            let block = &blocks[column / (format.subs * 32)];
            let at = column % (format.subs * 32);
            let (d, m) = (f16::from_bits(block.d).to_f32(), f16::from_bits(block.m).to_f32());
            let group = at / format.group_elements();
            let (d, m) = match format.subs {
                1 => (d, m),
                _ => (d * f32::from(block.scales[group]), -m * f32::from(block.mins[group])),
            };
            (d, if format.has_minimum() { m } else { 0.0 }, f32::from(block.quants[at]))
        };
        let segments = Segments::of(columns);
        let (mut whole, mut scales) = (Vec::new(), Vec::new());
        for segment in 0..segments.count {
            let blocks = segments.blocks_of(segment);
            let columns = blocks.start * 32..blocks.end * 32;
            let bound = |column| match (format.zero, parts(column)) {
                (Zero::Offset { shift }, (d, ..)) => (d * (1 << shift) as f32).abs(),
                (Zero::Minimum, (d, m, _)) => {
                    m.abs().max(((1 << format.bits) as f32 - 1.0).mul_add(d, m).abs())
                }
            };
            let size = columns.clone().map(bound).fold(1e-30, f32::max);
            let inverse = LARGEST / size;
            for column in columns {
                let (d, m, q) = parts(column);
                let d = d * inverse;
                let m = match format.zero {
                    Zero::Offset { shift } => d.mul_add(-((1 << shift) as f32), 128.0),
                    Zero::Minimum => m.mul_add(inverse, 128.0),
                };
                whole.push(q.mul_add(d, m).round_ties_even() as i32 - 128);
            }
            scales.push(size * (256.0 / LARGEST));
        }
        Self { whole, scales }
    }

    fn product(&self, x: &[f32]) -> f32 {
        let segments = Segments::of(x.len());
        let mut y = 0.0;
        for segment in 0..segments.count {
            let blocks = segments.blocks_of(segment);
            let columns = blocks.start * 32..blocks.end * 32;
            let largest = x[columns.clone()].iter().fold(0.0, |a: f32, x| a.max(x.abs()));
            let (scale, inverse) = match largest < 1e-30 {
                true => (0.0, 0.0),
                false => (largest / LARGEST, LARGEST / largest),
            };
            let (mut high, mut cross) = (0, 0);
            for column in columns {
                let (x1, x0) = digits((x[column] * inverse).round_ties_even() as i32);
                let (w1, w0) = digits(self.whole[column]);
                high += w1 * x1;
                cross += w1 * x0 + w0 * x1;
            }
            y = (high as f32).mul_add(256.0, cross as f32).mul_add(self.scales[segment] * scale, y);
        }
        y
    }
}

/// A matrix in both forms.
fn matrix(
    weight_type: WeightType,
    (outputs, columns): (usize, usize),
    bytes: &[u8],
) -> (PackedMatrix, Vec<WideWeights>) {
    let mut cpu = Cpu::new(Isa::detect(), 1);
    let packed =
        PackedMatrix::pack(MatrixBytes { weight_type, rows: outputs, columns, bytes }, &mut cpu).unwrap();
    let row = weight_type.bytes_of(columns).unwrap();
    (packed, bytes.chunks(row).map(|bytes| WideWeights::of(weight_type, bytes, columns)).collect())
}

fn check(what: &str, x: &Rows, (packed, weights): &(PackedMatrix, Vec<WideWeights>)) {
    for unit in Isa::with_matrix_unit() {
        for threads in [1, 3] {
            let got = comparable(&wide_product(&mut Cpu::new(unit, threads), x, &[packed]));
            for (i, got) in got.iter().enumerate() {
                let want: Vec<f32> = weights.iter().map(|weights| weights.product(x.row(i))).collect();
                assert!(*got == bits(&want), "{what}, {unit}, {threads} threads, row {i}");
            }
        }
    }
}

#[test]
fn every_format_and_small_shape_keeps_the_contract() {
    check_formats(is_small);
}

#[test]
fn large_matrices_keep_the_contract() {
    check_formats(|shape| !is_small(shape));
}

fn check_formats(is_wanted: fn(&(usize, usize)) -> bool) {
    for weight_type in block_wise() {
        for &(outputs, columns) in shapes(weight_type).iter().filter(|shape| is_wanted(shape)) {
            let bytes = Random(101).weights(weight_type, outputs * columns);
            let matrix = matrix(weight_type, (outputs, columns), &bytes);
            check(&format!("{weight_type} {outputs} x {columns}"), &random_rows(19, columns, 102), &matrix);
        }
    }
}

#[test]
fn extreme_quants_meet_extreme_activations_exactly() {
    for weight_type in block_wise() {
        for byte in [0x00, 0xFF, 0x80, 0x7F] {
            let mut bytes = vec![byte; weight_type.bytes_of(33 * 1280).unwrap()];
            // As f16 it would be infinite, NaN or tiny: d and m lie at fixed places that random blocks fill well.
            let random = Random(131).weights(weight_type, 33 * 1280);
            let size = weight_type.block_bytes();
            for (block, random) in bytes.chunks_mut(size).zip(random.chunks(size)) {
                scale_bytes(weight_type).for_each(|at| block[at] = random[at]);
            }
            let mut x = random_rows(5, 1280, 132);
            x.row_mut(0).fill(1.0);
            x.row_mut(1).fill(-1.0);
            for (k, x) in x.row_mut(2).iter_mut().enumerate() {
                *x = if k % 2 == 0 { LARGEST } else { -LARGEST };
            }
            x.row_mut(3).fill(0.0);
            x.row_mut(4)[..STEP].fill(0.0);
            check(&format!("{weight_type} of {byte:#x}"), &x, &matrix(weight_type, (33, 1280), &bytes));
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
fn results_keep_the_proven_bound_against_f64() {
    for weight_type in block_wise() {
        for &(outputs, columns) in shapes(weight_type) {
            let matrix = Matrix::random(weight_type, outputs, columns, 21);
            let x = random_rows(5, columns, 22);
            let got = wide_product(&mut Cpu::new(Isa::EMULATED_AMX, 1), &x, &[&matrix.packed]);
            let largest = |x: &[f32]| f64::from(x.iter().fold(0.0, |a: f32, x| a.max(x.abs())));
            for i in 0..x.rows() {
                for (w, got) in matrix.weights.chunks(columns).zip(got.row(i)) {
                    let pairs = || w.iter().zip(x.row(i)).map(|(w, x)| (f64::from(*w), f64::from(*x)));
                    let want: f64 = pairs().map(|(w, x)| w * x).sum();
                    // The bound of a weight is at most four times the largest one of random blocks.
                    let (w_step, x_step) =
                        (4.0 * largest(w) / f64::from(LARGEST), largest(x.row(i)) / f64::from(LARGEST));
                    let bound: f64 = pairs()
                        .map(|(w, x)| {
                            0.51 * (w_step * x.abs() + x_step * w.abs()) + 128.0 * 128.0 * w_step * x_step
                        })
                        .sum();
                    let error = (f64::from(*got) - want).abs();
                    assert!(error <= bound, "{weight_type} {outputs} x {columns}: {error} above {bound}");
                }
            }
        }
    }
}

#[test]
fn rows_depend_on_their_kind_and_on_no_other_row() {
    let count = 70;
    let x = random_rows(count, 288, 112);
    let matrix = Matrix::random(WeightType::Q5_1, 45, 288, 111).packed;
    for unit in Isa::with_matrix_unit() {
        let mut cpu = Cpu::new(unit, 2);
        let blocks = product(&mut cpu, &x, &[&matrix]);
        let wide = wide_product(&mut cpu, &x, &[&matrix]);
        assert_ne!(bits(blocks.row(0)), bits(wide.row(0)));
        for rows in [1, 2, 15, 16, 17, 33, count] {
            let x = first_rows(&x, rows);
            for every in [1, 2, 5] {
                let (generated, prompt): (Vec<u32>, Vec<u32>) =
                    (0..rows as u32).partition(|row| row % every == 1);
                let mut out = Rows::new(rows, 45);
                let split = Some(Split { generated: &generated, prompt: &prompt });
                let weights = LinearWeights { parts: &[&matrix], bias: None };
                cpu.linear(LinearInput { x: &x, norm: None, split }, weights, &mut out, Store::Replace);
                for row in 0..rows {
                    let want = if row as u32 % every == 1 { &blocks } else { &wide };
                    assert_eq!(bits(out.row(row)), bits(want.row(row)), "{unit}, row {row} of {rows}");
                }
            }
        }
    }
}

#[test]
fn rows_beyond_a_block_of_rows_are_like_the_first() {
    let x = random_rows(530, 64, 62);
    let matrix = Matrix::random(WeightType::Q4_0, 65, 64, 61).packed;
    for unit in Isa::with_matrix_unit() {
        let mut cpu = Cpu::new(unit, 2);
        let whole = wide_product(&mut cpu, &x, &[&matrix]);
        for i in [0, 15, 16, 511, 512, 529] {
            let mut one = Rows::new(1, 64);
            one.row_mut(0).copy_from_slice(x.row(i));
            assert_eq!(bits(wide_product(&mut cpu, &one, &[&matrix]).row(0)), bits(whole.row(i)));
        }
    }
}

#[test]
fn what_is_not_finite_shows_in_its_row_only() {
    let mut x = random_rows(18, 640, 122);
    x.row_mut(3)[500] = f32::INFINITY;
    x.row_mut(9)[0] = f32::NAN;
    x.row_mut(10).iter_mut().for_each(|x| *x *= 1e-34);
    let matrix = Matrix::random(WeightType::Q4_1, 40, 640, 121).packed;
    for unit in Isa::with_matrix_unit() {
        let out = wide_product(&mut Cpu::new(unit, 1), &x, &[&matrix]);
        for i in 0..18 {
            assert_eq!(out.row(i).iter().all(|y| y.is_nan()), i == 3 || i == 9, "{unit}, row {i}");
            assert_eq!(out.row(i).iter().all(|y| *y == 0.0), i == 10, "{unit}, row {i}");
        }
    }
}

#[test]
fn norm_bias_residual_and_gates_are_those_done_apart() {
    let (count, all) = (21, every(21));
    let x = random_rows(count, 256, 141);
    let weight: Vec<f32> = random_rows(1, 256, 142).row(0).to_vec();
    let bias: Vec<f32> = random_rows(1, 103, 143).row(0).to_vec();
    let residual = random_rows(count, 103, 144);
    let first = Matrix::random(WeightType::Q4_K, 70, 256, 145).packed;
    let second = Matrix::random(WeightType::Q6_K, 33, 256, 146).packed;
    let split = Some(Split { generated: &[], prompt: &all });
    let input = LinearInput { x: &x, norm: Some(Norm { weight: &weight, eps: 1e-5 }), split };
    for unit in Isa::with_matrix_unit() {
        let mut cpu = Cpu::new(unit, 2);
        let normed = normed_rows(unit, &x, &weight);
        let plain = wide_product(&mut cpu, &normed, &[&first, &second]);
        let mut out = first_rows(&residual, count);
        let weights = LinearWeights { parts: &[&first, &second], bias: Some(&bias) };
        cpu.linear(input, weights, &mut out, Store::Accumulate);
        for i in 0..count {
            let want: Vec<f32> = (0..103).map(|k| residual.row(i)[k] + (plain.row(i)[k] + bias[k])).collect();
            assert_eq!(bits(out.row(i)), bits(&want), "{unit}, row {i}");
        }
        let up = Matrix::random(WeightType::Q5_0, 70, 256, 147).packed;
        let mut out = Rows::new(count, 70);
        let gated = GatedWeights { gate: &first, up: &up, activation: Activation::Silu };
        cpu.gated_linear(input, gated, &mut out);
        let up = wide_product(&mut cpu, &normed, &[&up]);
        for i in 0..count {
            for (k, out) in out.row(i).iter().enumerate() {
                let gate = f64::from(plain.row(i)[k]);
                let exact = gate / (1.0 + (-gate).exp()) * f64::from(up.row(i)[k]);
                assert!((f64::from(*out) - exact).abs() <= 1e-6 * exact.abs() + 1e-30, "{out} for {exact}");
            }
        }
    }
}

#[test]
fn dense_weights_and_chosen_rows_keep_the_contract_of_blocks() {
    let all = every(20);
    let x = random_rows(20, 256, 151);
    let dense = Matrix::random(WeightType::F16, 33, 256, 148).packed;
    let blocks = Matrix::random(WeightType::Q4_K, 33, 256, 149).packed;
    for unit in Isa::with_matrix_unit() {
        let mut cpu = Cpu::new(unit, 2);
        let want = product(&mut cpu, &x, &[&blocks, &dense]);
        let got = wide_product(&mut cpu, &x, &[&blocks, &dense]);
        assert_eq!(comparable(&got), comparable(&want), "{unit}");
        let split = Some(Split { generated: &[], prompt: &all });
        let mut out = Rows::new(2, 33);
        let weights = LinearWeights { parts: &[&blocks], bias: None };
        cpu.linear_rows(LinearInput { x: &x, norm: None, split }, &[7, 3], weights, &mut out);
        assert_eq!(bits(out.row(0)), bits(&want.row(7)[..33]), "{unit}");
    }
}
