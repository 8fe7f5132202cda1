use super::*;
use crate::cpu::block::tests::Random;
use crate::cpu::isa::Isa;

fn digits(isa: Isa, x: &[f32]) -> Vec<DigitBlock> {
    let mut out = vec![DigitBlock::ZERO; x.len() / BLOCK];
    isa.run(PrepareRow { x, norm: None, floats: None, digits: DigitRow::Blocks(&mut out, Form::Digits) });
    out
}

/// The bits, so that NaN equals NaN.
fn bits(blocks: &[DigitBlock]) -> Vec<String> {
    blocks
        .iter()
        .map(|b| {
            format!("{:?} {} {:?} {:?}", b.digits, b.scale.to_bits(), b.sums.map(f32::to_bits), b.negative)
        })
        .collect()
}

#[test]
fn digits_are_within_half_a_step_and_their_sums_exact() {
    let mut random = Random(5);
    let x: Vec<f32> = (0..BLOCK * 500).map(|_| random.activation()).collect();
    for (x, block) in x.chunks(BLOCK).zip(digits(Isa::PORTABLE, &x)) {
        let whole: Vec<i32> =
            (0..BLOCK).map(|k| 256 * i32::from(block.digits[0][k]) + i32::from(block.digits[1][k])).collect();
        for (x, whole) in x.iter().zip(&whole) {
            let error = (f64::from(*whole) * f64::from(block.scale) - f64::from(*x)).abs();
            // Half a step, and three roundings of 2^-24 of numbers up to 32639 steps.
            assert!(error <= 0.506 * f64::from(block.scale), "{x} became {whole} * {}", block.scale);
        }
        let sums = [whole.iter().sum::<i32>(), whole[..16].iter().sum(), whole[16..].iter().sum()];
        assert_eq!(block.negative, sums.map(|s| -s));
        assert_eq!(block.sums, sums.map(|s| s as f32));
    }
}

#[test]
fn the_largest_of_four_blocks_gives_their_scale() {
    let mut x = vec![1.0; BLOCK * 6];
    x[3 * BLOCK + 7] = -5.0;
    x[5 * BLOCK] = 3.0;
    let scales: Vec<f32> = digits(Isa::PORTABLE, &x).iter().map(|block| block.scale * LARGEST).collect();
    assert_eq!(scales, [5.0, 5.0, 5.0, 5.0, 3.0, 3.0]);
}

#[test]
fn all_instruction_sets_give_the_same_digits() {
    let mut random = Random(6);
    // The last scale is of two blocks only.
    let mut x: Vec<f32> = (0..BLOCK * 102).map(|_| random.activation()).collect();
    // Ties, tiny and huge numbers, zeros and what is not finite.
    const SCALED: usize = SCALE_BLOCKS * BLOCK;
    for (i, odd) in [f32::MAX, 1e-30, 9e-31, 1e-40, f32::NAN, f32::INFINITY, 0.0, -0.0].iter().enumerate() {
        x[i * SCALED..][..SCALED].iter_mut().for_each(|x| *x *= 1e-32);
        x[i * SCALED + 9 * i] = *odd;
    }
    x[9 * SCALED..10 * SCALED].fill(0.0);
    for k in 0..SCALED {
        x[10 * SCALED + k] = if k == 0 { LARGEST } else { k as f32 - 15.5 };
    }
    let want = digits(Isa::PORTABLE, &x);
    assert!(want[4 * SCALE_BLOCKS..6 * SCALE_BLOCKS].iter().all(|block| block.scale.is_nan()));
    assert_eq!(want[9 * SCALE_BLOCKS], DigitBlock::ZERO);
    for isa in Isa::supported() {
        assert_eq!(bits(&digits(isa, &x)), bits(&want), "{isa}");
    }
}
