//! RMS normalisation of one row: y = x / sqrt(mean(x^2) + eps) * weight.
//!
//! The sum of squares has a fixed order: four accumulators of 16 lanes take the row's vectors in turn,
//! then ((0 + 1) + (2 + 3)), then the lanes by `reduce_sum`. So a row's bits do not depend on who
//! normalises it or beside which other rows.

use crate::cpu::simd::{LANES, Simd16};

/// 1 / sqrt(mean(x^2) + eps).
///
/// # Safety
/// The processor has the instruction set of `S`.
#[inline(always)]
pub(crate) unsafe fn inverse_rms<S: Simd16>(x: &[f32], eps: f32) -> f32 {
    // SAFETY: loads stay inside `x`; the instruction set is the caller's promise.
    unsafe {
        let mut sums = [S::zero(); 4];
        let (vectors, rest) = x.as_chunks::<LANES>();
        // Fours, so that the sums stay in registers.
        let (fours, others) = vectors.as_chunks::<4>();
        for four in fours {
            for i in 0..4 {
                let v = S::load(four[i].as_ptr());
                sums[i] = S::fma(v, v, sums[i]);
            }
        }
        for (i, vector) in others.iter().enumerate() {
            let v = S::load(vector.as_ptr());
            sums[i] = S::fma(v, v, sums[i]);
        }
        if !rest.is_empty() {
            let v = S::load_first(rest.as_ptr(), rest.len());
            sums[0] = S::fma(v, v, sums[0]);
        }
        let sum = S::reduce_sum(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])));
        1.0 / (sum / x.len() as f32 + eps).sqrt()
    }
}

/// Normalises `x` into `out`.
///
/// # Safety
/// The processor has the instruction set of `S`; the three slices have one length.
#[inline(always)]
pub(crate) unsafe fn rms_norm_row<S: Simd16>(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    debug_assert!(x.len() == weight.len() && x.len() == out.len());
    // SAFETY: each pointer stays inside its slice, which have one length; the rest is the caller's promise.
    unsafe {
        let scale = inverse_rms::<S>(x, eps);
        let vectors = x.len() / LANES * LANES;
        for i in (0..vectors).step_by(LANES) {
            let v = S::mul(S::load(x.as_ptr().add(i)), S::splat(scale));
            S::store(out.as_mut_ptr().add(i), S::mul(v, S::load(weight.as_ptr().add(i))));
        }
        for i in vectors..x.len() {
            out[i] = x[i] * scale * weight[i];
        }
    }
}

/// Normalises `x` in place.
///
/// # Safety
/// The processor has the instruction set of `S`; both slices have one length.
#[inline(always)]
pub(crate) unsafe fn rms_norm_row_in_place<S: Simd16>(x: &mut [f32], weight: &[f32], eps: f32) {
    debug_assert_eq!(x.len(), weight.len());
    // SAFETY: as in `rms_norm_row`.
    unsafe {
        let scale = inverse_rms::<S>(x, eps);
        let vectors = x.len() / LANES * LANES;
        for i in (0..vectors).step_by(LANES) {
            let at = x.as_mut_ptr().add(i);
            S::store(at, S::mul(S::mul(S::load(at), S::splat(scale)), S::load(weight.as_ptr().add(i))));
        }
        for i in vectors..x.len() {
            x[i] = x[i] * scale * weight[i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::isa::Isa;
    use crate::cpu::simd::Kernel;

    struct Norm<'a>(&'a [f32], &'a [f32]);

    impl Kernel for Norm<'_> {
        type Output = (Vec<f32>, Vec<f32>);

        #[inline(always)]
        unsafe fn run<S: Simd16>(self) -> Self::Output {
            let mut out = vec![0.0; self.0.len()];
            let mut in_place = self.0.to_vec();
            // SAFETY: equal lengths; `Isa::run` checks the instruction set.
            unsafe {
                rms_norm_row::<S>(self.0, self.1, 1e-5, &mut out);
                rms_norm_row_in_place::<S>(&mut in_place, self.1, 1e-5);
            }
            (out, in_place)
        }
    }

    #[test]
    fn rows_of_any_width_are_normalised_alike_everywhere() {
        for n in [1, 15, 16, 40, 64, 128, 576, 1000] {
            let x: Vec<f32> = (0..n).map(|i| ((i * 37 + 11) % 101) as f32 / 10.0 - 5.0).collect();
            let weight: Vec<f32> = (0..n).map(|i| 0.5 + (i % 7) as f32 / 5.0).collect();
            let (reference, in_place) = Isa::PORTABLE.run(Norm(&x, &weight));
            assert_eq!(reference, in_place);
            let squares = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
            let scale = 1.0 / (squares / n as f64 + 1e-5).sqrt();
            for ((&x, &w), &y) in x.iter().zip(&weight).zip(&reference) {
                let expected = f64::from(x) * scale * f64::from(w);
                assert!((f64::from(y) - expected).abs() <= 1e-6 * expected.abs());
            }
            for isa in Isa::supported() {
                assert_eq!(isa.run(Norm(&x, &weight)), (reference.clone(), in_place.clone()));
            }
        }
    }
}
