//! Sixteen lanes of f32 or 64 bytes of integers, on four instruction sets that give the same bits.
//!
//! A kernel is written once over [`Simd16`], as `#[inline(always)]` functions, and entered through
//! [`Kernel`] by `Isa::run` (or `Simd16::call`), which are compiled with the instruction set enabled. A
//! closure in between would be compiled without it: kernels use loops.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
mod portable;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use portable::Portable;

/// Lanes of a vector.
pub const LANES: usize = 16;

/// Code that is compiled once for every instruction set.
pub trait Kernel {
    type Output;

    /// Must be `#[inline(always)]`.
    ///
    /// # Safety
    /// The processor has the instruction set of `S`.
    unsafe fn run<S: Simd16>(self) -> Self::Output;
}

/// The vector operations. Every one of them gives the same bits on every instruction set, except that the
/// payload of a NaN may differ.
///
/// # Safety
/// Of all functions: the processor has the instruction set; pointers are valid for what is read or
/// written (16 elements unless stated otherwise), in any alignment.
#[allow(clippy::missing_safety_doc)]
pub trait Simd16: Copy + 'static {
    /// 16 f32.
    type F: Copy;
    /// 64 bytes: 16 lanes of i32, or of four bytes each.
    type I: Copy;
    /// Vector registers of 16 lanes that code may hold at once without spilling.
    const REGISTERS: usize;
    /// Whether `dot` and `dot_narrow` are instructions. Where they are not, `gather` and `dot_whole` are faster.
    const HAS_DOTS: bool = true;

    /// Runs a kernel in a function of its own with this instruction set enabled.
    unsafe fn call<K: Kernel>(kernel: K) -> K::Output;

    unsafe fn zero() -> Self::F;
    unsafe fn splat(x: f32) -> Self::F;
    unsafe fn load(at: *const f32) -> Self::F;
    /// The first `n` (at most 16) elements; the other lanes are 0 and not read.
    unsafe fn load_first(at: *const f32, n: usize) -> Self::F;
    unsafe fn load_f16(at: *const u16) -> Self::F;
    unsafe fn load_bf16(at: *const u16) -> Self::F;
    unsafe fn store(at: *mut f32, x: Self::F);
    /// Writes the first `n` (at most 16) lanes only.
    unsafe fn store_first(at: *mut f32, x: Self::F, n: usize);
    /// Rounds to nearest, ties to even.
    unsafe fn store_f16(at: *mut u16, x: Self::F);
    /// Rounds to nearest, ties to even.
    unsafe fn store_bf16(at: *mut u16, x: Self::F);
    /// Brings the cache line at `at`, which need not be valid, into the second cache: the nearest one waits for few lines
    /// at once, which is no stream from memory.
    unsafe fn prefetch(at: *const u8);

    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// a > b ? a : b, so b if one of them is NaN.
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    /// a < b ? a : b, so b if one of them is NaN.
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    /// a * b + c, rounded once.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    unsafe fn round_ties_even(x: Self::F) -> Self::F;
    /// Lane 0.
    unsafe fn first(x: Self::F) -> f32;
    /// The first `n` lanes of `a`, then those of `b`.
    unsafe fn first_lanes(n: usize, a: Self::F, b: Self::F) -> Self::F;
    /// Lane i takes lane i + 8, then i + 4, i + 2, i + 1.
    unsafe fn reduce_sum(x: Self::F) -> f32;
    /// In the order of `reduce_sum`, by `max`.
    unsafe fn reduce_max(x: Self::F) -> f32;
    /// The bits of each lane shifted left by 23: an integer in the low bits becomes an exponent.
    unsafe fn bits_shifted_left_23(x: Self::F) -> Self::F;

    unsafe fn bits(x: Self::F) -> Self::I;
    unsafe fn from_bits(x: Self::I) -> Self::F;
    unsafe fn to_f(x: Self::I) -> Self::F;
    /// To the nearest integer, ties to even. The lanes lie in the range of i32.
    unsafe fn to_i(x: Self::F) -> Self::I;

    unsafe fn zero_i() -> Self::I;
    unsafe fn splat_i(x: i32) -> Self::I;
    /// 64 bytes.
    unsafe fn load_i(at: *const u8) -> Self::I;
    /// 64 bytes.
    unsafe fn store_i(at: *mut u8, x: Self::I);
    /// 16 bytes, each into a lane.
    unsafe fn load_u8(at: *const u8) -> Self::I;
    /// 16 bytes, each into a lane.
    unsafe fn load_i8(at: *const i8) -> Self::I;
    /// The low byte of each lane: 16 bytes.
    unsafe fn store_low_bytes(at: *mut i8, x: Self::I);
    /// 32 numbers of at most 127 * 256 + 127 as 256 hi + lo, both signed bytes: 32 of hi, 32 of lo; of
    /// others, some bytes.
    unsafe fn store_digits(to: [*mut i8; 2], x: [Self::I; 2]);
    unsafe fn add_i(a: Self::I, b: Self::I) -> Self::I;
    /// Adds the 64 bytes, wrapping.
    unsafe fn add_bytes(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn and_i(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn or_i(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn max_i(a: Self::I, b: Self::I) -> Self::I;
    /// Left shift of each lane, n < 32.
    unsafe fn shl_i(x: Self::I, n: u32) -> Self::I;
    /// Right shift of each lane, zeros come in, n < 32.
    unsafe fn shr_i(x: Self::I, n: u32) -> Self::I;
    /// Right shift of each lane, the sign comes in, n < 32.
    unsafe fn sar_i(x: Self::I, n: u32) -> Self::I;
    /// The sum of the lanes of each, wrapping.
    unsafe fn sums_i(x: [Self::I; 8]) -> [i32; 8];
    unsafe fn reduce_max_i(x: Self::I) -> i32;
    /// Adds to each lane the four products of its unsigned bytes in `w` with the signed bytes of `a`,
    /// lowest byte first, exactly.
    unsafe fn dot(acc: Self::I, w: Self::I, a: i32) -> Self::I;
    /// `dot` for bytes of `w` up to 127: faster on some instruction sets.
    unsafe fn dot_narrow(acc: Self::I, w: Self::I, a: i32) -> Self::I;
    /// `dot` of bytes below 64 into sums that only `gathered` reads. They begin as `zero_i`, and hold as long as the two
    /// products that each time fall together come to less than 2^15 in sum.
    #[inline(always)]
    unsafe fn gather(acc: Self::I, w: Self::I, a: i32) -> Self::I {
        // SAFETY: the caller's promise.
        unsafe { Self::dot_narrow(acc, w, a) }
    }
    /// What was gathered, in lanes of i32.
    #[inline(always)]
    unsafe fn gathered(acc: Self::I) -> Self::I {
        acc
    }
    /// Adds to each lane the two products of its signed 16-bit halves in `w` with those of `x`, exactly.
    unsafe fn dot_words(acc: Self::I, w: Self::I, x: i32) -> Self::I;
    /// `dot` with numbers of two bytes, 256 hi + lo, of at most 2^15 - 1.
    #[inline(always)]
    unsafe fn dot_whole(acc: Self::I, w: Self::I, [hi, lo]: [i32; 2]) -> Self::I {
        // SAFETY: the caller's promise.
        unsafe {
            let hi = Self::dot(Self::zero_i(), w, hi);
            Self::dot(Self::add_i(acc, Self::shl_i(hi, 8)), w, lo)
        }
    }
}
