//! What the product instructions alone reach, from registers.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use ostro_kernels::cpu::isa::Isa;
use ostro_kernels::cpu::pool::Pool;
use ostro_kernels::cpu::simd::{Kernel, Simd16};

const DOTS: usize = 1_000_000;
const SUMS: usize = 12;
/// Some processors take wide products up at half their rate first.
const LONG_ENOUGH: Duration = Duration::from_millis(200);

/// Dot products in independent chains.
struct Dots;

impl Kernel for Dots {
    type Output = i32;

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) -> i32 {
        // Each sum has weights of its own: of alike ones the compiler makes one product.
        let weights = black_box([[1u8; 64]; SUMS]);
        // SAFETY: 64 bytes are read where they are; the instruction set is the caller's promise.
        unsafe {
            let weights = weights.each_ref().map(|bytes| S::load_i(bytes.as_ptr()));
            let mut sums = [S::zero_i(); SUMS];
            // As many as registers hold.
            let sums = if S::REGISTERS >= 32 { &mut sums[..] } else { &mut sums[..3] };
            for i in 0..(DOTS / sums.len()) as i32 {
                for (sum, w) in sums.iter_mut().zip(weights) {
                    *sum = if S::HAS_DOTS { S::dot_narrow(*sum, w, i) } else { S::gather(*sum, w, i) };
                }
            }
            sums.iter().map(|sum| S::reduce_max_i(*sum)).fold(0, i32::max)
        }
    }
}

/// Operations a second, 2 a weight and activation: of generated rows (two digits an activation), or of prompts on AMX
/// (two digits each, three of the four products).
pub(crate) fn products_peak(isa: Isa, threads: usize) -> f64 {
    // A thread of its own, pinned: on the processor of a worker, where other programs may leave it, it would wait for that.
    let best = thread::scope(|scope| scope.spawn(|| best_seconds(isa, threads)).join().expect("no panic"));
    let (products, a_pair) =
        if isa.name() == "amx" { (TILES * 16 * 16 * 64, 3.0) } else { (DOTS * 16 * 4, 2.0) };
    2.0 * (products * threads) as f64 / a_pair / best
}

fn best_seconds(isa: Isa, threads: usize) -> f64 {
    let mut pool = Pool::new(threads);
    pool.pin_caller();
    let mut best = f64::MAX;
    let begun = Instant::now();
    while begun.elapsed() < LONG_ENOUGH {
        let start = Instant::now();
        pool.run(&|_| {
            if isa.name() == "amx" {
                tiles();
            } else {
                black_box(isa.run(Dots));
            }
        });
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

/// Products of 16 rows x 64 columns x 16 outputs.
const TILES: usize = 400_000;

/// Sums in four registers, as in the kernels.
#[cfg(target_arch = "x86_64")]
fn tiles() {
    use std::arch::asm;

    #[repr(C, align(64))]
    struct Shapes([u8; 64]);

    /// 16 rows x 64 bytes in all registers.
    static SHAPES: Shapes = {
        let mut shapes = [0; 64];
        shapes[0] = 1;
        let mut i = 0;
        while i < 8 {
            shapes[16 + 2 * i] = 64;
            shapes[48 + i] = 16;
            i += 1;
        }
        Shapes(shapes)
    };
    // SAFETY: the name `amx` exists only where AMX does and the system has allowed it.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, readonly));
        for _ in 0..TILES / 4 {
            asm!(
                "tdpbssd tmm0, tmm4, tmm6",
                "tdpbssd tmm1, tmm5, tmm6",
                "tdpbssd tmm2, tmm4, tmm7",
                "tdpbssd tmm3, tmm5, tmm7",
                options(nostack, nomem)
            );
        }
        asm!("tilerelease", options(nostack, nomem));
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn tiles() {}
