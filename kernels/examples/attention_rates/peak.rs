//! What fused multiply-adds of f32 alone reach, from registers.

use std::hint::black_box;

use ostro_kernels::cpu::isa::Isa;
use ostro_kernels::cpu::pool::Pool;
use ostro_kernels::cpu::simd::{Kernel, LANES, Simd16};

/// Of each thread; every number of chains divides them.
const FMAS: usize = 960_000;

/// Multiply-adds in independent chains, enough to hide that one waits for the one before.
struct Fmas;

impl Kernel for Fmas {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) -> f32 {
        // SAFETY: no pointers; the instruction set is the caller's promise.
        unsafe {
            let mut sums = [S::zero(); 12];
            // As many as registers hold.
            let sums = if S::REGISTERS >= 32 { &mut sums[..] } else { &mut sums[..5] };
            let x = S::splat(black_box(0.5));
            for _ in 0..FMAS / sums.len() {
                for sum in &mut *sums {
                    *sum = S::fma(x, x, *sum);
                }
            }
            sums.iter().map(|sum| S::reduce_max(*sum)).fold(0.0, f32::max)
        }
    }
}

/// As many as `operations` says, on all threads.
pub(crate) fn run(isa: Isa, pool: &mut Pool) {
    pool.run(&|_| {
        black_box(isa.run(Fmas));
    });
}

/// Two a multiply-add.
pub(crate) fn operations(threads: usize) -> f64 {
    (2 * FMAS * LANES * threads) as f64
}
