use super::*;
use crate::cpu::ahead::Stretch;
use crate::cpu::block::tests::{Random, scale_places};
use crate::cpu::digits::{DigitRow, Form, PrepareRow};
use crate::cpu::head::Head;
use crate::cpu::isa::Isa;
use crate::cpu::linear::estimate_tile::{EstimateCall, estimate_function};
use crate::cpu::linear::tile::Strided;
use crate::cpu::ops::Cpu;
use crate::cpu::ops::linear::{LinearInput, LinearWeights, Store};
use crate::cpu::pack::MatrixBytes;
use crate::cpu::rows::Rows;
use crate::cpu::simd::Portable;

/// A row as digits have it, its estimate's part, and its lengths.
struct Row {
    x: Vec<f32>,
    numbers: Vec<f32>,
    blocks: Vec<EstimateBlock>,
    lengths: Vec<f32>,
}

impl Row {
    fn new(x: &[f32]) -> Self {
        let mut digits = vec![DigitBlock::ZERO; x.len() / BLOCK];
        let row = DigitRow::Blocks(&mut digits, Form::Digits);
        Isa::PORTABLE.run(PrepareRow { x, norm: None, floats: None, digits: row });
        let empty =
            EstimateBlock { digits: [0; BLOCK], scale: 0.0, sums: [0.0; 3], negative: [0; 3], unused: 0 };
        let (mut blocks, mut lengths) = (vec![empty; digits.len()], vec![0.0; lengths(x.len())]);
        Isa::PORTABLE.run(EstimateRow { digits: &digits, blocks: &mut blocks, lengths: &mut lengths });
        Row { x: x.to_vec(), numbers: digits.iter().flat_map(numbers).collect(), blocks, lengths }
    }

    /// How far the largest estimate is off the largest product, of how far it can be.
    fn error(&self, head: &Head) -> f64 {
        let largest = self.product(head).into_iter().fold(f32::NEG_INFINITY, f32::max);
        let error = f64::from(self.estimate(head.matrix())) - f64::from(largest);
        error.abs() / f64::from(reach(head.lengths(), &self.lengths))
    }

    /// As tiles compute it.
    fn product(&self, head: &Head) -> Vec<f32> {
        let mut x = Rows::new(1, self.numbers.len());
        x.row_mut(0).copy_from_slice(&self.x);
        let mut out = Rows::new(1, head.matrix().rows());
        let weights = LinearWeights { parts: &[head.matrix()], bias: None };
        let input = LinearInput { x: &x, norm: None, split: None };
        Cpu::new(Isa::PORTABLE, 1).linear(input, weights, &mut out, Store::Replace);
        out.row(0).to_vec()
    }

    fn estimate(&self, matrix: &PackedMatrix) -> f32 {
        let mut largest = 0.0;
        let function = estimate_function::<Portable>(matrix.weight_type(), 1);
        // SAFETY: the panel is of the function's type, and the row as wide.
        unsafe {
            function(&EstimateCall {
                panel: matrix.panel(0),
                columns: matrix.columns(),
                outputs: matrix.rows(),
                rows: Strided { start: self.blocks.as_ptr(), stride: self.blocks.len() },
                ahead: Stretch::NONE,
                largest: &raw mut largest,
            });
        }
        largest
    }
}

/// One panel.
fn head(weight_type: WeightType, rows: usize, bytes: &[u8], columns: usize) -> Head {
    let matrix = MatrixBytes { weight_type, rows, columns, bytes };
    Head::pack_estimated(matrix, &mut Cpu::new(Isa::PORTABLE, 1)).unwrap()
}

#[test]
fn estimates_are_within_their_reach() {
    const COLUMNS: usize = 768;
    // Scales and minima: those of a model, negative, subnormal, none, minima that make up most of a weight.
    let numbers = [None, Some([-0.01, 0.0]), Some([6e-8, 6e-8]), Some([0.0, 0.0]), Some([0.001, -2.0])];
    for weight_type in WeightType::ALL.into_iter().filter(|t| BlockFormat::of(*t).is_some()) {
        for numbers in numbers {
            let mut random = Random(71);
            let errors = (1..=32).map(|rows| {
                let mut bytes = random.weights(weight_type, rows * COLUMNS);
                for block in bytes.chunks_exact_mut(weight_type.block_bytes()) {
                    let Some([d, m]) = numbers.map(|numbers| numbers.map(half::f16::from_f32)) else { break };
                    let (scale, minimum) = scale_places(weight_type);
                    block[scale..scale + 2].copy_from_slice(&d.to_le_bytes());
                    if let Some(at) = minimum {
                        block[at..at + 2].copy_from_slice(&m.to_le_bytes());
                    }
                }
                let x: Vec<f32> = (0..COLUMNS).map(|_| random.activation()).collect();
                let row = Row::new(&x);
                let head = head(weight_type, rows, &bytes, COLUMNS);
                if row.product(&head).iter().all(|product| *product == 0.0) { 0.0 } else { row.error(&head) }
            });
            let worst = errors.fold(0.0, f64::max);
            // Far below 1 while weights and what is left out know nothing of each other.
            assert!(worst < 0.6, "{weight_type}, {numbers:?}: {worst} of the reach");
            assert!(numbers.is_some() || worst > 0.02, "{weight_type}: {worst} of the reach");
        }
    }
}

/// Weights that are a multiple of what is left out are the worst.
#[test]
fn no_reach_is_less_than_what_is_left_out() {
    const COLUMNS: usize = 256;
    // A scale of 100 in each block, and a rest of 49 at all columns but one.
    let x: Vec<f32> = (0..COLUMNS).map(|k| if k % BLOCK == 0 { 12_700.0 } else { 249.0 }).collect();
    let worst = Row::new(&x).error(&head(WeightType::Q8_0, 1, &steady(COLUMNS), COLUMNS));
    assert!((0.95..1.0).contains(&worst), "{worst} of the reach");
}

/// Weights of 100, as Q8_0.
fn steady(columns: usize) -> Vec<u8> {
    let mut bytes = vec![0; WeightType::Q8_0.bytes_of(columns).unwrap()];
    for block in bytes.chunks_exact_mut(34) {
        block[..2].copy_from_slice(&half::f16::ONE.to_le_bytes());
        block[2..].fill(100);
    }
    bytes
}

/// Activations that 8 bits hold: both results differ by what is rounded alone, of sums that grow all along.
#[test]
fn no_reach_is_less_than_what_is_rounded() {
    const COLUMNS: usize = 4864;
    let head = head(WeightType::Q8_0, 1, &steady(COLUMNS), COLUMNS);
    let mut random = Random(75);
    let errors = (0..50).map(|_| {
        let mut x: Vec<f32> = (0..COLUMNS).map(|_| (random.next() >> 40) as f32 % 127.0 + 1.0).collect();
        x.iter_mut().step_by(BLOCK).for_each(|x| *x = 127.0);
        let row = Row::new(&x);
        let left_out: f32 = row.lengths[..row.lengths.len() - 1].iter().sum();
        assert!(left_out < 1e-2, "{left_out} is left out");
        let reach = reach(head.lengths(), &row.lengths);
        let (estimate, product) = (row.estimate(head.matrix()), row.product(&head)[0]);
        assert!((estimate - product).abs() <= reach, "{estimate} for {product}, {reach}");
        // More than what is left out tells.
        let without = left_out * head.lengths()[0];
        f64::from((estimate - product).abs()) / f64::from(without)
    });
    let worst = errors.fold(0.0, f64::max);
    assert!(worst > 1.0, "{worst} of what is left out");
}

#[test]
fn nothing_is_known_of_rows_that_are_too_large_or_too_small() {
    let mut random = Random(77);
    let x: Vec<f32> = (0..160).map(|_| random.activation()).collect();
    for (scale, is_known) in [
        (0.0, false),
        (1e-25, false),
        (1e-12, true),
        (1.0, true),
        (1e12, true),
        (1e25, false),
        (f32::INFINITY, false),
        (f32::NAN, false),
    ] {
        let x: Vec<f32> = x.iter().map(|x| x * scale).collect();
        let reach = reach(&[1.0; 3], &Row::new(&x).lengths);
        assert_eq!(reach.is_finite(), is_known, "{scale}: {reach}");
    }
}
