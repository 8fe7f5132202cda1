//! Activation functions on 16 lanes, the same bits on every instruction set.

use crate::cpu::exp::exp;
use crate::cpu::simd::Simd16;

/// The nonlinearity of a feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x * sigmoid(x), also called swish.
    Silu,
    /// GELU in its tanh form (`gelu_pytorch_tanh`, `gelu_new`).
    GeluTanh,
    /// Exact GELU, x * Phi(x); relative error of Phi under 2e-6 where it is above 1e-30.
    Gelu,
    Relu,
}

impl Activation {
    /// The function of every lane.
    ///
    /// # Safety
    /// The processor has the instruction set of `S`.
    #[inline(always)]
    pub unsafe fn apply<S: Simd16>(self, x: S::F) -> S::F {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::Silu => times_sigmoid::<S>(x, x),
                Self::GeluTanh => gelu_tanh::<S>(x),
                Self::Gelu => gelu::<S>(x),
                Self::Relu => S::max(x, S::zero()),
            }
        }
    }
}

/// x / (1 + e^-u).
#[inline(always)]
unsafe fn times_sigmoid<S: Simd16>(x: S::F, u: S::F) -> S::F {
    // SAFETY: the caller's promise.
    unsafe { S::div(x, S::add(S::splat(1.0), exp::<S>(S::sub(S::zero(), u)))) }
}

/// 0.5 (1 + tanh u) = sigmoid(2u): no cancellation for negative x.
#[inline(always)]
unsafe fn gelu_tanh<S: Simd16>(x: S::F) -> S::F {
    const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769;
    // SAFETY: the caller's promise.
    unsafe {
        let inner = S::fma(S::mul(x, x), S::splat(0.044_715), S::splat(1.0));
        times_sigmoid::<S>(x, S::mul(S::mul(x, S::splat(TWICE_SQRT_2_OVER_PI)), inner))
    }
}

/// x Phi(x) = max(x, 0) - |x| erfc(|x| / sqrt 2) / 2; erfc by a Chebyshev fit in t = 1 / (1 + z/2)
/// (Numerical Recipes, §6.2: relative error under 1.2e-7 before rounding).
#[inline(always)]
unsafe fn gelu<S: Simd16>(x: S::F) -> S::F {
    const FIT: [f32; 9] = [
        -0.822_152_2,
        1.488_515_9,
        -1.135_204,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_7,
        -1.265_512_2,
    ];
    // SAFETY: the caller's promise.
    unsafe {
        let size = S::max(x, S::sub(S::zero(), x));
        let z = S::mul(size, S::splat(std::f32::consts::FRAC_1_SQRT_2));
        let t = S::div(S::splat(1.0), S::fma(z, S::splat(0.5), S::splat(1.0)));
        let mut fit = S::splat(0.170_872_77);
        for c in FIT {
            fit = S::fma(fit, t, S::splat(c));
        }
        let half_erfc = S::mul(S::mul(S::splat(0.5), t), exp::<S>(S::sub(fit, S::mul(z, z))));
        S::sub(S::max(x, S::zero()), S::mul(size, half_erfc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::isa::Isa;
    use crate::cpu::simd::{Kernel, LANES};

    struct Apply<'a>(Activation, &'a [f32]);

    impl Kernel for Apply<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        unsafe fn run<S: Simd16>(self) -> Vec<f32> {
            let mut out = vec![0.0; self.1.len()];
            for (from, to) in self.1.as_chunks::<LANES>().0.iter().zip(out.as_chunks_mut::<LANES>().0) {
                // SAFETY: whole vectors; `Isa::run` checks the instruction set.
                unsafe { S::store(to.as_mut_ptr(), self.0.apply::<S>(S::load(from.as_ptr()))) };
            }
            out
        }
    }

    fn numbers() -> Vec<f32> {
        (0..1 << 14).map(|i| (i - (1 << 13)) as f32 / 400.0).collect()
    }

    /// `tolerance`: the relative error allowed at x.
    fn check(activation: Activation, expected: fn(f64) -> f64, tolerance: fn(f64) -> f64) {
        let x = numbers();
        for (&x, y) in x.iter().zip(Isa::detect().run(Apply(activation, &x))) {
            let x = f64::from(x);
            let error = (f64::from(y) - expected(x)).abs();
            assert!(error <= tolerance(x) * expected(x).abs() + 1e-30, "{activation:?}({x}) = {y}");
        }
    }

    #[test]
    fn all_instruction_sets_give_the_same_bits() {
        let x = numbers();
        let bits = |y: Vec<f32>| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
        for activation in [Activation::Silu, Activation::GeluTanh, Activation::Gelu, Activation::Relu] {
            let expected = bits(Isa::PORTABLE.run(Apply(activation, &x)));
            for isa in Isa::supported() {
                assert!(bits(isa.run(Apply(activation, &x))) == expected, "{activation:?} on {isa:?}");
            }
        }
    }

    #[test]
    fn silu_is_x_times_sigmoid() {
        check(Activation::Silu, |x| x / (1.0 + (-x).exp()), |_| 4e-7);
    }

    #[test]
    fn relu_is_the_positive_part() {
        check(Activation::Relu, |x| x.max(0.0), |_| 0.0);
    }

    #[test]
    fn gelu_tanh_follows_its_definition() {
        // 0.5 (1 + tanh u) = 1 / (1 + e^-2u), which f64 can compute for negative u too.
        let gelu = |x: f64| {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            x / (1.0 + (-2.0 * u).exp())
        };
        // e^-2u multiplies the roundings of u by |2u|, about |x|^3 / 14.
        check(Activation::GeluTanh, gelu, |x| 1e-6 * (1.0 + x.abs().powi(3) / 8.0));
    }

    #[test]
    fn gelu_is_x_times_the_normal_distribution() {
        let x = numbers();
        for (&x, y) in x.iter().zip(Isa::detect().run(Apply(Activation::Gelu, &x))) {
            let x = f64::from(x);
            let error = (f64::from(y) - x * normal_distribution(x)).abs();
            assert!(error < 4e-7 * x.abs().max(0.1), "{x}: {y}");
        }
    }

    #[test]
    fn gelu_keeps_its_relative_precision_on_the_negative_side() {
        let x = [-4.0; LANES];
        let y = Isa::detect().run(Apply(Activation::Gelu, &x))[0];
        // Phi(-4) = 3.167124183311992e-5 (tables).
        assert!((f64::from(y) / (-4.0 * 3.167_124_183_311_992e-5) - 1.0).abs() < 3e-6);
    }

    /// 1/2 + the integral of the density, by the Taylor series of erf (|x| <= 6) or its limit.
    fn normal_distribution(x: f64) -> f64 {
        if x.abs() > 6.0 {
            return if x > 0.0 { 1.0 } else { 0.0 };
        }
        let mut term = x;
        let mut sum = x;
        for n in 1..200 {
            term *= x * x / f64::from(2 * n + 1);
            sum += term;
        }
        0.5 + sum * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
    }
}
