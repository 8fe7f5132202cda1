//! Exponentials of whole vocabularies, the same bits on every machine: no library call, no fused operations.

use ostro_kernels::cpu::isa::Isa;
use ostro_kernels::cpu::plain::PlainKernel;

const LANES: usize = 16;
/// Values summed up in f32 before f64 takes over.
pub(super) const BLOCK: usize = 16 * LANES;
/// Adding and subtracting it rounds to an integer.
const ROUND: f32 = 12_582_912.0;
/// Below this the result is 0.
const UNDERFLOW: f32 = -87.0;
/// ln 2 in two parts; products of the first with small integers are exact.
const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);

/// e^x for x <= 0, error below 3e-7 of the result.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let bounded = if x > UNDERFLOW { x } else { UNDERFLOW };
    let shifted = bounded * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = bounded - n * LN_2.0 - n * LN_2.1;
    let tail = 1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0)));
    let fraction = 1.0 + r + r * r * (0.5 + r * tail);
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    let power = fraction * f32::from_bits(exponent);
    if x > UNDERFLOW { power } else { 0.0 }
}

/// ln of the sum of e^x.
pub(super) fn log_sum_exp(isa: Isa, values: &[f32], largest: f32) -> f64 {
    f64::from(largest) + isa.run_plain(SumExp { values, largest }).ln()
}

struct SumExp<'a> {
    values: &'a [f32],
    largest: f32,
}

impl PlainKernel for SumExp<'_> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let mut buffer = [0.0; BLOCK];
        let mut sum = 0.0;
        for block in self.values.chunks(BLOCK) {
            for (out, value) in buffer.iter_mut().zip(block) {
                *out = exp(value - self.largest);
            }
            sum += block_sum(&buffer[..block.len()]);
        }
        sum
    }
}

/// In a fixed order that vectors keep.
#[inline(always)]
pub(super) fn block_sum(block: &[f32]) -> f64 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = block.as_chunks::<LANES>();
    for chunk in chunks {
        (0..LANES).for_each(|lane| lanes[lane] += chunk[lane]);
    }
    lanes.iter().chain(rest).map(|value| f64::from(*value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_and_exact_at_its_ends() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::MIN), 0.0);
        for step in 0..870_000 {
            let x = step as f32 * -1e-4;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 3e-7, "e^{x}: {error}");
        }
    }

    #[test]
    fn log_sum_exp_equals_the_sum_in_f64() {
        for len in [1, 15, 16, 255, 256, 257, 1000] {
            let values: Vec<f32> = (0..len).map(|i| (i as f32 * 0.77).sin() * 9.0).collect();
            let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let expected = values.iter().map(|value| f64::from(*value).exp()).sum::<f64>().ln();
            for isa in Isa::supported() {
                let error = (log_sum_exp(isa, &values, largest) - expected).abs();
                assert!(error < 1e-6, "{isa}: {error} of {len}");
            }
        }
    }
}
