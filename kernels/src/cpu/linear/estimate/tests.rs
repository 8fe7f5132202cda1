use super::*;
use crate::cpu::ahead::Stretch;
use crate::cpu::block::tests::Random;
use crate::cpu::digits::{DigitRow, Form, PrepareRow};
use crate::cpu::head::Head;
use crate::cpu::isa::Isa;
use crate::cpu::linear::estimate_tile::{EstimateCall, estimate_function};
use crate::cpu::linear::tile::Strided;
use crate::cpu::ops::Cpu;
use crate::cpu::pack::MatrixBytes;
use crate::cpu::simd::Portable;

/// A row as digits have it, its estimate's part, and its lengths.
struct Row {
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
        Row { numbers: digits.iter().flat_map(numbers).collect(), blocks, lengths }
    }

    /// How far the estimate of its product with the head's one row is off, of how far it can be.
    fn error(&self, head: &Head, weights: &[f32]) -> f64 {
        let product: f64 =
            weights.iter().zip(&self.numbers).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
        let error = (f64::from(self.estimate(head.matrix())) - product).abs();
        error / f64::from(reach(head.lengths(), &self.lengths))
    }

    fn estimate(&self, matrix: &PackedMatrix) -> f32 {
        let mut largest = 0.0;
        let function = estimate_function::<Portable>(matrix.weight_type(), 1).unwrap();
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

fn one_row(weight_type: WeightType, bytes: &[u8], columns: usize) -> (Head, Vec<f32>) {
    let mut weights = vec![0.0; columns];
    weight_type.dequantise(bytes, &mut weights);
    let matrix = MatrixBytes { weight_type, rows: 1, columns, bytes };
    (Head::pack(matrix, &mut Cpu::new(Isa::PORTABLE, 1)).unwrap(), weights)
}

#[test]
fn estimates_are_within_their_reach() {
    const COLUMNS: usize = 768;
    for weight_type in WeightType::ALL.into_iter().filter(|t| BlockFormat::of(*t).is_some()) {
        let mut random = Random(71);
        let errors = (0..200).map(|_| {
            let (head, weights) = one_row(weight_type, &random.weights(weight_type, COLUMNS), COLUMNS);
            let x: Vec<f32> = (0..COLUMNS).map(|_| random.activation()).collect();
            Row::new(&x).error(&head, &weights)
        });
        let worst = errors.fold(0.0, f64::max);
        // Far below 1 while weights and what is left out know nothing of each other.
        assert!((0.03..0.5).contains(&worst), "{weight_type}: {worst} of the reach");
    }
}

/// Weights that are a multiple of what is left out are the worst.
#[test]
fn no_reach_is_less_than_what_is_left_out() {
    const COLUMNS: usize = 256;
    let weight_type = WeightType::Q8_0;
    let mut bytes = vec![0; weight_type.bytes_of(COLUMNS).unwrap()];
    for block in bytes.chunks_exact_mut(34) {
        block[..2].copy_from_slice(&half::f16::ONE.to_le_bytes());
        block[2..].fill(100);
    }
    let (head, weights) = one_row(weight_type, &bytes, COLUMNS);
    // A scale of 100 in each block, and a rest of 49 at all columns but one.
    let x: Vec<f32> = (0..COLUMNS).map(|k| if k % BLOCK == 0 { 12_700.0 } else { 249.0 }).collect();
    let worst = Row::new(&x).error(&head, &weights);
    assert!((0.95..1.0).contains(&worst), "{worst} of the reach");
}
