use super::*;
use crate::cpu::block::tests::Random;
use crate::cpu::isa::Isa;

fn digits(isa: Isa, x: &[f32]) -> Vec<DigitBlock> {
    let mut out = vec![DigitBlock::ZERO; x.len() / BLOCK];
    isa.run(PrepareRow { x, norm: None, floats: None, digits: DigitRow::Blocks(&mut out) });
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
        assert_eq!(block.sums, sums.map(|s| s as f32 * block.scale));
    }
}

#[test]
fn all_instruction_sets_give_the_same_digits() {
    let mut random = Random(6);
    let mut x: Vec<f32> = (0..BLOCK * 100).map(|_| random.activation()).collect();
    // Ties, tiny and huge numbers, zeros and what is not finite.
    for (block, odd) in [f32::MAX, 1e-30, 9e-31, 1e-40, f32::NAN, f32::INFINITY, 0.0, -0.0].iter().enumerate()
    {
        x[block * BLOCK..][..BLOCK].iter_mut().for_each(|x| *x *= 1e-32);
        x[block * BLOCK + block] = *odd;
    }
    x[9 * BLOCK..10 * BLOCK].fill(0.0);
    for k in 0..BLOCK {
        x[10 * BLOCK + k] = if k == 0 { LARGEST } else { k as f32 - 15.5 };
    }
    let want = digits(Isa::PORTABLE, &x);
    assert!(want[4].scale.is_nan() && want[5].scale.is_nan());
    assert_eq!(want[9], DigitBlock::ZERO);
    for isa in Isa::supported() {
        assert_eq!(bits(&digits(isa, &x)), bits(&want), "{isa}");
    }
}
