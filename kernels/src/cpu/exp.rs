//! 2^x and e^x on 16 lanes, the same bits on every instruction set.
//!
//! Range reduction by adding 1.5 * 2^23: the sum's low bits are round(x), and shifted left they are
//! the exponent of the result. Then a polynomial of degree 6 on [-1/2, 1/2] (Cephes exp2f). Worst
//! relative error 1.2e-7 for exp2, 2e-7 for exp (tests). Results under 2^-126.5 are 0, so that
//! 2^-inf = 0 (masked keys) without a special case; e^x from 2^127.5 on is infinite; NaN stays.

use crate::cpu::simd::Simd16;

/// 1.5 * 2^23 + 127: the low bits of `x + MAGIC` are round(x) + 127, a biased exponent.
const MAGIC: f32 = 12_582_912.0 + 127.0;
const COEFFICIENTS: [f32; 6] =
    [1.339_887_4e-3, 9.618_437e-3, 5.550_332_5e-2, 2.402_264_8e-1, std::f32::consts::LN_2, 1.0];
const COEFFICIENT_6: f32 = 1.535_336_2e-4;
/// log2(e) = HIGH + LOW to 48 bits.
const LOG2_E_HIGH: f32 = std::f32::consts::LOG2_E;
const LOG2_E_LOW: f32 = 1.925_963e-8;

/// 2^x for x <= 0.
///
/// # Safety
/// The processor has the instruction set of `S`.
#[inline(always)]
pub(crate) unsafe fn exp2_negative<S: Simd16>(x: S::F) -> S::F {
    // SAFETY: the caller's promise.
    unsafe {
        // The operand order keeps a NaN: max returns the second operand when one is NaN.
        let x = S::max(S::splat(-127.0), x);
        let biased = S::add(x, S::splat(MAGIC));
        let r = S::sub(x, S::sub(biased, S::splat(MAGIC)));
        power::<S>(biased, r)
    }
}

/// e^x.
///
/// # Safety
/// The processor has the instruction set of `S`.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd16>(x: S::F) -> S::F {
    // SAFETY: the caller's promise.
    unsafe {
        // As above: a NaN stays.
        let x = S::min(S::splat(88.8), S::max(S::splat(-88.1), x));
        let biased = S::fma(x, S::splat(LOG2_E_HIGH), S::splat(MAGIC));
        let n = S::sub(biased, S::splat(MAGIC));
        let r = S::fma(x, S::splat(LOG2_E_HIGH), S::sub(S::zero(), n));
        power::<S>(biased, S::fma(x, S::splat(LOG2_E_LOW), r))
    }
}

/// 2^n * 2^r for |r| <= 1/2, n in the low bits of `biased`.
#[inline(always)]
unsafe fn power<S: Simd16>(biased: S::F, r: S::F) -> S::F {
    // SAFETY: the caller's promise.
    unsafe {
        let mut p = S::splat(COEFFICIENT_6);
        for c in COEFFICIENTS {
            p = S::fma(p, r, S::splat(c));
        }
        S::mul(p, S::bits_shifted_left_23(biased))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::isa::Isa;
    use crate::cpu::simd::{Kernel, LANES};

    #[derive(Clone, Copy)]
    enum Base {
        Two,
        E,
    }

    struct Power<'a>(Base, &'a [f32]);

    impl Kernel for Power<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        unsafe fn run<S: Simd16>(self) -> Vec<f32> {
            let mut out = vec![0.0; self.1.len()];
            for (from, to) in self.1.as_chunks::<LANES>().0.iter().zip(out.as_chunks_mut::<LANES>().0) {
                // SAFETY: whole vectors; `Isa::run` checks the instruction set.
                unsafe {
                    let x = S::load(from.as_ptr());
                    let y = match self.0 {
                        Base::Two => exp2_negative::<S>(x),
                        Base::E => exp::<S>(x),
                    };
                    S::store(to.as_mut_ptr(), y);
                }
            }
            out
        }
    }

    /// Numbers over a range, evenly, with the range's ends.
    fn numbers(range: std::ops::RangeInclusive<f32>) -> Vec<f32> {
        let n = 1 << 16;
        let step = (range.end() - range.start()) / (n - 1) as f32;
        (0..n).map(|i| (range.start() + i as f32 * step).min(*range.end())).collect()
    }

    fn worst(base: Base, x: &[f32], power: fn(f64) -> f64) -> f64 {
        let errors = |(&x, &y): (&f32, &f32)| (f64::from(y) / power(f64::from(x)) - 1.0).abs();
        let y = Isa::detect().run(Power(base, x));
        x.iter().zip(&y).map(errors).fold(0.0, f64::max)
    }

    #[test]
    fn exp2_and_exp_are_exact_to_a_unit_in_the_last_place() {
        for range in [-126.4..=-1.0, -1.0..=0.0] {
            assert!(worst(Base::Two, &numbers(range), f64::exp2) < 1.2e-7);
        }
        for range in [-87.5..=-1.0, -1.0..=1.0, 1.0..=88.3] {
            assert!(worst(Base::E, &numbers(range), f64::exp) < 2e-7);
        }
    }

    #[test]
    fn extremes_are_zero_infinite_or_nan() {
        let mut x = [f32::NEG_INFINITY; LANES];
        x[1..6].copy_from_slice(&[-1e30, -127.0, f32::NAN, 89.0, f32::INFINITY]);
        for isa in Isa::supported() {
            for base in [Base::Two, Base::E] {
                let y = isa.run(Power(base, &x));
                assert_eq!(y[..3], [0.0; 3], "{isa}");
                assert!(y[3].is_nan(), "{isa}");
            }
            assert_eq!(isa.run(Power(Base::E, &x))[4..6], [f32::INFINITY; 2], "{isa}");
        }
    }

    #[test]
    fn all_instruction_sets_give_the_same_bits() {
        let bits = |y: Vec<f32>| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
        for (base, x) in [(Base::Two, numbers(-130.0..=0.0)), (Base::E, numbers(-90.0..=90.0))] {
            let expected = bits(Isa::PORTABLE.run(Power(base, &x)));
            for isa in Isa::supported() {
                assert!(bits(isa.run(Power(base, &x))) == expected, "{isa:?}");
            }
        }
    }
}
