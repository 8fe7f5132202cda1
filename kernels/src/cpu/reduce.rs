//! Reductions over a row of logits: the largest one, and the pieces of log-softmax.

use crate::cpu::exp::exp;
use crate::cpu::simd::{Kernel, LANES, Simd16};

/// The pieces of log-softmax: `log p(i) = x[i] - max - ln(sum)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogSumExp {
    pub max: f32,
    /// Sum of e^(x - max) over the row, in a fixed order.
    pub sum: f32,
}

impl LogSumExp {
    /// ln of the sum of e^x.
    pub fn value(&self) -> f32 {
        self.max + self.sum.ln()
    }

    /// ln of the probability of a logit.
    pub fn log_probability(&self, logit: f32) -> f32 {
        (logit - self.max) - self.sum.ln()
    }
}

/// The index and value of the largest number; the first of equals. NaN is never the largest; a row of
/// nothing but NaN gives index 0.
pub(crate) struct Argmax<'a>(pub(crate) &'a [f32]);

/// Numbers of which the maximum is found before looking where it is.
const STRETCH: usize = 64 * LANES;

impl Kernel for Argmax<'_> {
    type Output = (usize, f32);

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) -> (usize, f32) {
        let mut best = (0, f32::NEG_INFINITY);
        for (i, stretch) in self.0.chunks(STRETCH).enumerate() {
            // SAFETY: whoever runs the kernel answers for the instruction set.
            let max = unsafe { maximum::<S>(stretch) };
            if max > best.1 {
                best = (i * STRETCH, max);
            }
        }
        let (start, max) = best;
        let index = self.0[start..].iter().position(|&x| x == max).unwrap_or(0);
        (start + index, self.0[start + index])
    }
}

/// The largest number, NaN ignored.
#[inline(always)]
unsafe fn maximum<S: Simd16>(x: &[f32]) -> f32 {
    // SAFETY: loads stay inside `x`; the instruction set is the caller's promise.
    unsafe {
        let (vectors, rest) = x.as_chunks::<LANES>();
        let mut max = S::splat(f32::NEG_INFINITY);
        for vector in vectors {
            // A NaN as the first operand gives the second.
            max = S::max(S::load(vector.as_ptr()), max);
        }
        let max = S::reduce_max(max);
        rest.iter().fold(max, |max, &x| if x > max { x } else { max })
    }
}

pub(crate) struct LogSumExpOf<'a>(pub(crate) &'a [f32]);

impl Kernel for LogSumExpOf<'_> {
    type Output = LogSumExp;

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) -> LogSumExp {
        // SAFETY: loads stay inside the row; whoever runs the kernel answers for the instruction set.
        unsafe {
            let max = maximum::<S>(self.0);
            let (vectors, rest) = self.0.as_chunks::<LANES>();
            let mut sums = [S::zero(); 4];
            for (i, vector) in vectors.iter().enumerate() {
                let e = exp::<S>(S::sub(S::load(vector.as_ptr()), S::splat(max)));
                sums[i % 4] = S::add(sums[i % 4], e);
            }
            if !rest.is_empty() {
                let mut last = [f32::NEG_INFINITY; LANES];
                last[..rest.len()].copy_from_slice(rest);
                let e = exp::<S>(S::sub(S::load(last.as_ptr()), S::splat(max)));
                sums[0] = S::add(sums[0], e);
            }
            let sum = S::reduce_sum(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])));
            LogSumExp { max, sum }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::isa::Isa;

    fn row(n: usize) -> Vec<f32> {
        (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e6 - 8.0).collect()
    }

    #[test]
    fn argmax_is_the_first_of_the_largest() {
        for isa in Isa::supported() {
            for n in [1, 5, 16, 1023, 1024, 1025, 5000] {
                for at in [0, n / 3, n - 1] {
                    let mut x = row(n);
                    x[at] = 100.0;
                    x[n - 1] = 100.0;
                    assert_eq!(isa.run(Argmax(&x)), (at, 100.0));
                }
            }
        }
    }

    #[test]
    fn argmax_passes_over_nan_and_takes_what_there_is() {
        for isa in Isa::supported() {
            let mut x = vec![f32::NAN; 40];
            assert_eq!(isa.run(Argmax(&x)).0, 0);
            x[17] = f32::NEG_INFINITY;
            assert_eq!(isa.run(Argmax(&x)), (17, f32::NEG_INFINITY));
            x[35] = -3.0;
            assert_eq!(isa.run(Argmax(&x)), (35, -3.0));
        }
    }

    #[test]
    fn log_sum_exp_is_close_to_f64_and_the_same_everywhere() {
        for n in [1, 15, 16, 17, 1000, 49152] {
            let x = row(n);
            let exact = x.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
            let reference = Isa::PORTABLE.run(LogSumExpOf(&x));
            assert!((f64::from(reference.value()) - exact).abs() < 2e-6, "{n}");
            for isa in Isa::supported() {
                assert_eq!(isa.run(LogSumExpOf(&x)), reference);
            }
        }
    }
}
