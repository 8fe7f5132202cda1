use super::*;
use crate::cpu::block::WeightType;
use crate::cpu::block::tests::Random;
use crate::cpu::digits::LARGEST;
use crate::cpu::embedding::Embeddings;
use crate::cpu::isa::Isa;
use crate::cpu::norm::rms_norm_row;
use crate::cpu::pack::MatrixBytes;
use crate::cpu::simd::{Kernel, Simd16};

mod greedy;
mod wide;

/// A matrix, packed and as numbers.
struct Matrix {
    packed: PackedMatrix,
    weights: Vec<f32>,
}

impl Matrix {
    fn random(weight_type: WeightType, rows: usize, columns: usize, seed: u64) -> Self {
        let bytes = Random(seed).weights(weight_type, rows * columns);
        let mut weights = vec![0.0; rows * columns];
        weight_type.dequantise(&bytes, &mut weights);
        let mut cpu = Cpu::new(Isa::detect(), 1);
        let packed =
            PackedMatrix::pack(MatrixBytes { weight_type, rows, columns, bytes: &bytes }, &mut cpu).unwrap();
        Self { packed, weights }
    }
}

fn random_rows(rows: usize, width: usize, seed: u64) -> Rows {
    let mut random = Random(seed);
    let mut out = Rows::new(rows, width);
    for i in 0..rows {
        out.row_mut(i).fill_with(|| random.activation());
    }
    out
}

fn first_rows(x: &Rows, rows: usize) -> Rows {
    let mut out = Rows::new(rows, x.width());
    for i in 0..rows {
        out.row_mut(i).copy_from_slice(x.row(i));
    }
    out
}

fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|x| x.to_bits()).collect()
}

fn product(cpu: &mut Cpu, x: &Rows, parts: &[&PackedMatrix]) -> Rows {
    let mut out = Rows::new(x.rows(), parts.iter().map(|part| part.rows()).sum());
    let weights = LinearWeights { parts, bias: None };
    cpu.linear(LinearInput { x, norm: None, split: None }, weights, &mut out, Store::Replace);
    out
}

/// Shapes with whole blocks of the type, most of them odd.
fn shapes(weight_type: WeightType) -> &'static [(usize, usize)] {
    match weight_type.block_elements() {
        1 => &[(1, 1), (31, 7), (64, 33), (100, 288), (33, 576)],
        32 => &[(1, 32), (31, 64), (33, 288), (100, 576), (96, 896), (40, 1536), (35, 4864)],
        _ => &[(1, 256), (33, 768), (100, 512), (40, 4864)],
    }
}

/// Few weights, so that a test takes little time under emulation too.
fn is_small(&(outputs, columns): &(usize, usize)) -> bool {
    outputs * columns < 26_000
}

#[test]
fn bits_depend_on_neither_instructions_nor_batch_nor_threads() {
    check_bits(is_small);
}

#[test]
fn bits_of_large_matrices_depend_on_none_of_them_either() {
    check_bits(|shape| !is_small(shape));
}

fn check_bits(is_wanted: fn(&(usize, usize)) -> bool) {
    const ROWS: usize = 17;
    for weight_type in WeightType::ALL {
        for &(outputs, columns) in shapes(weight_type).iter().filter(|shape| is_wanted(shape)) {
            let matrix = Matrix::random(weight_type, outputs, columns, 11);
            let x = random_rows(ROWS, columns, 12);
            let mut portable = Cpu::new(Isa::PORTABLE, 1);
            let want: Vec<_> = (0..ROWS)
                .map(|i| {
                    let mut one = Rows::new(1, columns);
                    one.row_mut(0).copy_from_slice(x.row(i));
                    bits(product(&mut portable, &one, &[&matrix.packed]).row(0))
                })
                .collect();
            for isa in Isa::supported() {
                for threads in [1, 3] {
                    let mut cpu = Cpu::new(isa, threads);
                    for rows in [1, 2, 3, 4, 6, 11, ROWS] {
                        let got = product(&mut cpu, &first_rows(&x, rows), &[&matrix.packed]);
                        for (i, want) in want.iter().enumerate().take(rows) {
                            assert!(
                                bits(got.row(i)) == *want,
                                "{weight_type} {outputs} x {columns}, {isa}, {threads} threads, row {i} of {rows}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn every_type_has_the_same_bits_beside_larger_quants() {
    const ROWS: usize = 101;
    for weight_type in WeightType::ALL {
        for columns in [256, 1536] {
            let matrix = Matrix::random(weight_type, 45, columns, 21).packed;
            let beside = Matrix::random(WeightType::Q8_0, 33, columns, 22).packed;
            let x = random_rows(ROWS, columns, 23);
            let mut alone = Cpu::new(Isa::PORTABLE, 1);
            let want = [&matrix, &beside].map(|part| product(&mut alone, &x, &[part]));
            for isa in Isa::supported() {
                let mut cpu = Cpu::new(isa, 2);
                for rows in [7, 8, 11, ROWS] {
                    let got = product(&mut cpu, &first_rows(&x, rows), &[&matrix, &beside]);
                    for row in 0..rows {
                        let of_parts = want.each_ref().map(|part| bits(part.row(row))).concat();
                        assert!(
                            bits(got.row(row)) == of_parts,
                            "{weight_type} of {columns} columns by {isa}, row {row} of {rows}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn parts_of_long_panels_have_the_same_bits() {
    const ROWS: usize = 101;
    for (weight_type, columns) in [
        (WeightType::Q4_1, 4864),
        (WeightType::Q5_0, 896),
        (WeightType::Q5_0, 4864),
        (WeightType::Q5_1, 1056),
        (WeightType::Q3_K, 2304),
        (WeightType::Q5_K, 768),
        (WeightType::Q6_K, 1024),
        (WeightType::Q6_K, 4864),
        (WeightType::F16, 2100),
    ] {
        let matrix = Matrix::random(weight_type, 35, columns, 31);
        let x = random_rows(ROWS, columns, 32);
        check_alone(&matrix.packed, &x, &[0, 95, 96, ROWS - 1]);
    }
}

/// The listed rows have the same bits among all rows and alone.
fn check_alone(matrix: &PackedMatrix, x: &Rows, listed: &[usize]) {
    for isa in Isa::supported().into_iter().filter(|isa| *isa != Isa::PORTABLE) {
        let mut cpu = Cpu::new(isa, 2);
        let all = product(&mut cpu, x, &[matrix]);
        for &row in listed {
            let mut one = Rows::new(1, x.width());
            one.row_mut(0).copy_from_slice(x.row(row));
            let alone = product(&mut cpu, &one, &[matrix]);
            let what = format!("{} by {isa}, row {row}", matrix.weight_type());
            assert_eq!(bits(all.row(row)), bits(alone.row(0)), "{what}");
        }
    }
}

/// What two digits may be off: half a step a weight, and the f32 roundings of the terms.
fn bound(weight_type: WeightType, weights: &[f32], x: &[f32]) -> f64 {
    let abs = |x: f32| f64::from(x.abs());
    if weight_type.block_elements() == 1 {
        let size: f64 = weights.iter().zip(x).map(|(w, x)| abs(*w) * abs(*x)).sum();
        return size * f64::from(f32::EPSILON) * (x.len() as f64 + 2.0);
    }
    let blocks = || weights.chunks(32).zip(x.chunks(32));
    let scaled = weights.chunks(128).zip(x.chunks(128));
    let quantising: f64 = scaled
        .map(|(w, x)| {
            let largest = x.iter().fold(0.0, |a: f64, x| a.max(abs(*x)));
            largest / f64::from(LARGEST) * 0.506 * w.iter().map(|w| abs(*w)).sum::<f64>()
        })
        .sum();
    // d * q and m partly cancel: four times the largest weight covers the sizes of both.
    let sizes: f64 = blocks()
        .map(|(w, x)| {
            let largest = w.iter().fold(0.0, |a: f64, w| a.max(abs(*w)));
            4.0 * largest * x.iter().map(|x| abs(*x)).sum::<f64>()
        })
        .sum();
    quantising + sizes * f64::from(f32::EPSILON) * (x.len() as f64 / 16.0 + 4.0)
}

#[test]
fn results_keep_the_proven_bound_against_f64() {
    for weight_type in WeightType::ALL {
        for &(outputs, columns) in shapes(weight_type) {
            let matrix = Matrix::random(weight_type, outputs, columns, 21);
            let x = random_rows(17, columns, 22);
            let mut worst: f64 = 0.0;
            let got = product(&mut Cpu::new(Isa::detect(), 2), &x, &[&matrix.packed]);
            for i in 0..x.rows() {
                for (w, got) in matrix.weights.chunks(columns).zip(got.row(i)) {
                    let want: f64 = w.iter().zip(x.row(i)).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                    let error = (f64::from(*got) - want).abs();
                    worst = worst.max(error / bound(weight_type, w, x.row(i)).max(1e-30));
                }
            }
            assert!(worst <= 1.0, "{weight_type} {outputs} x {columns}: {worst} of the bound");
        }
    }
}

#[test]
fn stacked_parts_are_each_part_alone() {
    let all = random_rows(512, 512, 31);
    let types =
        [(WeightType::Q4_K, 100), (WeightType::Q6_K, 33), (WeightType::F16, 7), (WeightType::Q8_0, 64)];
    let parts: Vec<_> = types.iter().map(|(t, rows)| Matrix::random(*t, *rows, 512, 32).packed).collect();
    let cases = [7, 101, 512].into_iter().flat_map(|rows| [1, 2, 5].map(|threads| (rows, threads)));
    for (rows, threads) in cases {
        let (x, mut cpu) = (first_rows(&all, rows), Cpu::new(Isa::detect(), threads));
        let together = product(&mut cpu, &x, &parts.iter().collect::<Vec<_>>());
        let mut column = 0;
        for part in &parts {
            let alone = product(&mut Cpu::new(Isa::detect(), 1), &x, &[part]);
            for i in 0..x.rows() {
                assert_eq!(bits(&together.row(i)[column..][..part.rows()]), bits(alone.row(i)));
            }
            column += part.rows();
        }
    }
}

/// Normalised with an epsilon of 1e-5, apart from a product.
fn normed_rows(isa: Isa, x: &Rows, weight: &[f32]) -> Rows {
    struct Norms<'a>(&'a Rows, &'a [f32], Rows);
    impl Kernel for Norms<'_> {
        type Output = Rows;
        #[inline(always)]
        unsafe fn run<S: Simd16>(mut self) -> Rows {
            for row in 0..self.0.rows() {
                // SAFETY: all are as wide as `x`; `Isa::run` checks the instruction set.
                unsafe { rms_norm_row::<S>(self.0.row(row), self.1, 1e-5, self.2.row_mut(row)) };
            }
            self.2
        }
    }
    isa.run(Norms(x, weight, Rows::new(x.rows(), x.width())))
}

#[test]
fn norm_bias_and_residual_are_those_done_apart() {
    for (weight_type, rows) in [
        (WeightType::Q4_1, 1),
        (WeightType::Q4_1, 7),
        (WeightType::Q4_1, 512),
        (WeightType::BF16, 2),
        (WeightType::BF16, 512),
    ] {
        let matrix = Matrix::random(weight_type, 70, 288, 41).packed;
        let x = random_rows(rows, 288, 42);
        let weight: Vec<f32> = random_rows(1, 288, 43).row(0).to_vec();
        let bias: Vec<f32> = random_rows(1, 70, 44).row(0).to_vec();
        let residual = random_rows(rows, 70, 45);
        let mut cpu = Cpu::new(Isa::detect(), 2);
        let normed = normed_rows(Isa::detect(), &x, &weight);
        let plain = product(&mut cpu, &normed, &[&matrix]);
        let mut got = first_rows(&residual, rows);
        let input = LinearInput { x: &x, norm: Some(Norm { weight: &weight, eps: 1e-5 }), split: None };
        let weights = LinearWeights { parts: &[&matrix], bias: Some(&bias) };
        cpu.linear(input, weights, &mut got, Store::Accumulate);
        for i in 0..rows {
            let want: Vec<f32> = (0..70).map(|k| residual.row(i)[k] + (plain.row(i)[k] + bias[k])).collect();
            assert_eq!(bits(got.row(i)), bits(&want), "{weight_type}, row {i}");
        }
    }
}

#[test]
fn listed_rows_are_those_rows_of_the_whole() {
    let matrix = Matrix::random(WeightType::Q8_0, 50, 96, 51).packed;
    let x = random_rows(20, 96, 52);
    let mut cpu = Cpu::new(Isa::detect(), 2);
    let whole = product(&mut cpu, &x, &[&matrix]);
    for list in [&[19, 3][..], &[0, 5, 6, 7, 8, 19], &[]] {
        let mut out = Rows::new(8, 50);
        let weights = LinearWeights { parts: &[&matrix], bias: None };
        cpu.linear_rows(LinearInput { x: &x, norm: None, split: None }, list, weights, &mut out);
        assert_eq!(out.rows(), list.len());
        for (i, row) in list.iter().enumerate() {
            assert_eq!(bits(out.row(i)), bits(whole.row(*row as usize)));
        }
    }
}

#[test]
fn rows_beyond_a_row_block_are_like_the_first() {
    // Two blocks, of 152 and 148 rows; quants as they are, unpacked, and none.
    for (weight_type, columns) in [(WeightType::Q4_0, 64), (WeightType::Q6_K, 1024), (WeightType::BF16, 64)] {
        let matrix = Matrix::random(weight_type, 65, columns, 61).packed;
        let x = random_rows(300, columns, 62);
        check_alone(&matrix, &x, &[0, 151, 152, 255, 256, 299]);
    }
}

#[test]
fn rows_that_threads_have_apart_are_like_the_first() {
    for weight_type in [WeightType::Q4_0, WeightType::BF16] {
        let matrix = Matrix::random(weight_type, 65, 64, 63).packed;
        check_alone(&matrix, &random_rows(1022, 64, 64), &[0, 511, 512, 1021]);
    }
}

#[test]
fn the_gated_layer_is_its_two_products_with_the_activation() {
    check_gated(5, 256);
    check_gated(768, 256);
}

#[test]
fn a_gated_layer_of_more_columns_than_a_run_is_its_two_products() {
    check_gated(50, 4864);
}

fn check_gated(rows: usize, columns: usize) {
    let gate = Matrix::random(WeightType::Q4_K, 71, columns, 71).packed;
    let up = Matrix::random(WeightType::Q6_K, 71, columns, 72).packed;
    let x = random_rows(rows, columns, 73);
    let mut want: Vec<Vec<u32>> = Vec::new();
    for isa in Isa::supported() {
        for threads in [1, 3] {
            let mut cpu = Cpu::new(isa, threads);
            let mut out = Rows::new(rows, 71);
            let weights = GatedWeights { gate: &gate, up: &up, activation: Activation::Silu };
            cpu.gated_linear(LinearInput { x: &x, norm: None, split: None }, weights, &mut out);
            let got: Vec<_> = (0..rows).map(|i| bits(out.row(i))).collect();
            let (g, u) = (product(&mut cpu, &x, &[&gate]), product(&mut cpu, &x, &[&up]));
            for i in 0..rows {
                for (k, out) in out.row(i).iter().enumerate() {
                    let (g, u) = (f64::from(g.row(i)[k]), f64::from(u.row(i)[k]));
                    let exact = g / (1.0 + (-g).exp()) * u;
                    assert!(
                        (f64::from(*out) - exact).abs() <= 1e-6 * exact.abs() + 1e-30,
                        "{out} for {exact}"
                    );
                }
            }
            if want.is_empty() {
                want.clone_from(&got);
            }
            assert!(got == want, "{isa}, {threads} threads");
        }
    }
}

#[test]
fn an_activation_that_is_not_finite_shows_in_the_result() {
    let matrix = Matrix::random(WeightType::Q4_1, 32, 64, 81).packed;
    let mut x = random_rows(2, 64, 82);
    x.row_mut(1)[40] = f32::INFINITY;
    let out = product(&mut Cpu::new(Isa::detect(), 1), &x, &[&matrix]);
    assert!(out.row(0).iter().all(|y| y.is_finite()));
    assert!(out.row(1).iter().all(|y| y.is_nan()));
}

#[test]
fn embeddings_are_the_tables_rows() {
    for weight_type in [WeightType::Q8_0, WeightType::F16] {
        let table = Matrix::random(weight_type, 40, 96, 91);
        let mut cpu = Cpu::new(Isa::detect(), 2);
        for tokens in [&[39, 0, 7][..], &[1, 2, 3, 4, 5, 5, 39]] {
            let mut out = Rows::new(10, 96);
            cpu.embed(Embeddings { table: None, head: &table.packed }, tokens, &mut out);
            assert_eq!(out.rows(), tokens.len());
            for (i, token) in tokens.iter().enumerate() {
                assert_eq!(out.row(i), &table.weights[*token as usize * 96..][..96]);
            }
        }
    }
}
