//! Exponentials of whole vocabularies, the same bits on every machine: no library call, no fused operations.

const LANES: usize = 16;
/// Values summed up in f32 before f64 takes over.
const BLOCK: usize = 16 * LANES;
/// Adding and subtracting it rounds to an integer.
const ROUND: f32 = 12_582_912.0;
/// Below this the result is 0.
const UNDERFLOW: f32 = -87.0;
/// ln 2 in two parts; products of the first with small integers are exact.
const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);

/// e^x for x <= 0, error below 3e-7 of the result.
#[inline]
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

/// Writes e^((x - largest) * scale) and returns the sum.
pub(super) fn weights(values: &[f32], largest: f32, scale: f32, out: &mut Vec<f32>) -> f64 {
    out.resize(values.len(), 0.0);
    let mut sum = 0.0;
    for (out, values) in out.chunks_mut(BLOCK).zip(values.chunks(BLOCK)) {
        for (out, value) in out.iter_mut().zip(values) {
            *out = exp((value - largest) * scale);
        }
        sum += block_sum(out);
    }
    sum
}

/// ln of the sum of e^x.
pub(super) fn log_sum_exp(values: &[f32], largest: f32) -> f64 {
    let mut buffer = [0.0; BLOCK];
    let mut sum = 0.0;
    for block in values.chunks(BLOCK) {
        for (out, value) in buffer.iter_mut().zip(block) {
            *out = exp(value - largest);
        }
        sum += block_sum(&buffer[..block.len()]);
    }
    f64::from(largest) + sum.ln()
}

/// Makes smaller weights 0 and returns the sum of the others.
pub(super) fn keep_at_least(weights: &mut [f32], least: f32) -> f64 {
    let mut sum = 0.0;
    for block in weights.chunks_mut(BLOCK) {
        for weight in block.iter_mut() {
            *weight = if *weight >= least { *weight } else { 0.0 };
        }
        sum += block_sum(block);
    }
    sum
}

/// In a fixed order that vectors keep.
pub(super) fn block_sum(block: &[f32]) -> f64 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = block.as_chunks::<LANES>();
    for chunk in chunks {
        (0..LANES).for_each(|lane| lanes[lane] += chunk[lane]);
    }
    lanes.iter().chain(rest).map(|value| f64::from(*value)).sum()
}

/// The first index at which the running sum exceeds `mass`, else the last with a positive weight.
pub(super) fn find_mass(weights: &[f32], mass: f64) -> usize {
    let mut before = 0.0;
    let mut last = 0;
    for (block, values) in weights.chunks(BLOCK).enumerate() {
        let sum = block_sum(values);
        if sum == 0.0 {
            continue;
        }
        last = block * BLOCK + values.iter().rposition(|weight| *weight > 0.0).expect("the sum is positive");
        if before + sum > mass {
            return block * BLOCK + find_in_block(values, mass - before).unwrap_or(last - block * BLOCK);
        }
        before += sum;
    }
    last
}

fn find_in_block(weights: &[f32], mass: f64) -> Option<usize> {
    let mut running = 0.0;
    weights.iter().position(|weight| {
        running += f64::from(*weight);
        running > mass
    })
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
            assert!((log_sum_exp(&values, largest) - expected).abs() < 1e-6, "{len}");
        }
    }

    #[test]
    fn find_mass_is_the_inverse_of_the_running_sum() {
        let weights: Vec<f32> = (0..700).map(|i| (i % 5) as f32 * 0.25).collect();
        let mut before = 0.0;
        for (index, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            assert_eq!(find_mass(&weights, before), index);
            assert_eq!(find_mass(&weights, before + 0.99 * f64::from(*weight)), index);
            before += f64::from(*weight);
        }
        assert_eq!(find_mass(&weights, before), 699, "rounding never leads past the last possible token");
    }
}
