//! Plain loops that the compiler vectorises, compiled for every instruction set.
//!
//! The same bits everywhere: rustc neither reorders floating-point operations nor fuses them.

use super::isa::Isa;
use super::simd::{Kernel, Simd16};

/// Safe code to compile once for every instruction set. `run` and what it calls in loops must be
/// `#[inline(always)]`, or they are compiled for the oldest processor.
pub trait PlainKernel {
    type Output;

    fn run(self) -> Self::Output;
}

impl Isa {
    /// Runs the version of `kernel` for this instruction set.
    #[inline]
    pub fn run_plain<K: PlainKernel>(self, kernel: K) -> K::Output {
        self.run(Plain(kernel))
    }
}

struct Plain<K>(K);

impl<K: PlainKernel> Kernel for Plain<K> {
    type Output = K::Output;

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) -> K::Output {
        self.0.run()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct SumOfSquares<'a>(&'a [f32]);

    impl PlainKernel for SumOfSquares<'_> {
        type Output = f32;

        #[inline(always)]
        fn run(self) -> f32 {
            self.0.iter().fold(0.5, |sum, x| sum + x * x)
        }
    }

    #[test]
    fn nothing_is_fused_or_reordered() {
        let x: Vec<f32> = (0..1000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e7).collect();
        let expected = SumOfSquares(&x).run();
        for isa in Isa::supported() {
            assert_eq!(isa.run_plain(SumOfSquares(&x)).to_bits(), expected.to_bits(), "{isa}");
        }
    }
}
